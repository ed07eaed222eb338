"""What the package computes stays what it is, up to the rounding of other processors."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import jaxtyping
import numpy as np
import pytest

FOLDER = Path(__file__).parent

EXPECTED: dict[str, dict[str, list[float]]] = json.loads((FOLDER / "numbers.json").read_text())
"""Of each piece of `record.py`."""


@pytest.fixture(scope="module")
def record() -> ModuleType:
    spec = importlib.util.spec_from_file_location("record", FOLDER / "record.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", autouse=True)
def _no_checks_of_shapes() -> Iterator[None]:
    """What is computed here is checked by tests of its own, and would take longer so."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


def test_every_piece_has_its_numbers(record: ModuleType) -> None:
    assert list(record.PIECES) == list(EXPECTED)


@pytest.mark.parametrize("piece", EXPECTED)
def test_every_method_computes_what_it_did(piece: str, record: ModuleType, tmp_path: Path) -> None:
    expected = EXPECTED[piece]

    with record.few_steps():
        found = {name: numbers for name, _, numbers in record.PIECES[piece](tmp_path)}

    assert found.keys() == expected.keys()
    for name, numbers in expected.items():
        np.testing.assert_allclose(found[name], numbers, rtol=2e-3, atol=1e-3, err_msg=name)


def test_what_differs_from_call_to_call_is_left_out(record: ModuleType) -> None:
    table = {"psnr_db": 30.5, "seconds": 2.0, "rows": [{"name": "a", "seconds_per_draw": 1.0}]}

    assert record.plain(table) == {"psnr_db": 30.5, "rows": [{"name": "a"}]}
    assert list(record.numbers(record.plain(table))) == [30.5]
