"""Tests for mriimpute.config."""

import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mriimpute.config import assign, dump, merge, parse, read_toml
from mriimpute.errors import ConfigError
from mriimpute.training.folder import RunFolder


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    """A table."""

    rate: float = 0.1
    kind: Literal["adam", "sgd"] = "adam"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer:
    """A document with a table in it."""

    steps: int = 10
    name: str = "a"
    size: tuple[int, int, int] = (1, 2, 3)
    widths: tuple[int, ...] = (8,)
    fast: bool = False
    limit: float | None = None
    either: int | str = 0
    train: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps must be at least 0, got {self.steps}")


VALUES = st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text()
TABLES = st.dictionaries(
    st.text(min_size=1),
    VALUES | st.lists(VALUES, max_size=3) | st.dictionaries(st.text(min_size=1), VALUES),
    max_size=4,
)


@given(table=TABLES)
def test_what_is_dumped_reads_back_the_same(table: dict[str, object]) -> None:
    assert tomllib.loads(dump(table)) == table


def test_defaults_survive_the_way_through_toml() -> None:
    back = parse(Outer, tomllib.loads(dump(asdict(Outer(limit=None, train=Inner(rate=2.0))))))

    assert back == Outer(train=Inner(rate=2.0))


def test_numpy_numbers_are_dumped_as_numbers() -> None:
    assert dump({"rate": np.float64(0.1)}) == "rate = 0.1\n"


def test_a_value_that_toml_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError, match="not TOML serializable"):
        dump({"thing": object()})


def test_a_run_goes_on_whoever_formatted_its_settings(tmp_path: Path) -> None:
    settings = {"name": "a", "seed": 1, "model": {"patch": [8, 8, 8], "scale": 1e-5, "on": True}}
    folder = RunFolder(tmp_path / "run")
    folder.open(settings, overwrite=False)
    folder.begin()
    folder.settings.write_text(
        'seed = 1\nname = "a"\n\n[model]\npatch = [8, 8, 8]\nscale = 1e-05\non = true\n'
    )

    folder.open(settings, overwrite=False)

    with pytest.raises(ConfigError, match=r"was begun with model.scale = 1e-05"):
        folder.open({**settings, "model": {**settings["model"], "scale": 2e-5}}, overwrite=False)


def test_unknown_key_names_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match=r"no setting is called 'train\.rat'") as failure:
        parse(Outer, {"train": {"rat": 1.0}})

    assert "did you mean 'rate'" in failure.value.hint


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 1.5}, "steps must be int, got 1.5"),
        ({"steps": True}, "steps must be int, got True"),
        ({"steps": "1"}, "steps must be int, got '1'"),
        ({"fast": 1}, "fast must be bool, got 1"),
        ({"train": {"rate": "x"}}, "train.rate must be float, got 'x'"),
        ({"train": {"kind": "lbfgs"}}, "train.kind must be .*'lbfgs'"),
        ({"train": 3}, "train must be Inner, got 3"),
        ({"size": [1, 2]}, r"size must be tuple.*got \[1, 2\]"),
        ({"widths": [1, "x"]}, "widths must be int, got 'x'"),
        ({"either": 0.5}, "either must be .*0.5"),
        ({"steps": -1}, "steps must be at least 0, got -1"),
    ],
)
def test_ill_typed_value_is_named(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(Outer, settings)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"limit": 3}, Outer(limit=3.0)),
        ({"limit": None}, Outer(limit=None)),
        ({"either": "x"}, Outer(either="x")),
        ({"either": 4}, Outer(either=4)),
        ({"size": [4, 5, 6]}, Outer(size=(4, 5, 6))),
        ({"widths": []}, Outer(widths=())),
        ({"train": {"rate": 1}}, Outer(train=Inner(rate=1.0))),
    ],
)
def test_plain_values_become_typed_fields(settings: dict[str, object], expected: Outer) -> None:
    assert parse(Outer, settings) == expected


def test_merge_changes_neither_of_its_arguments() -> None:
    base, overlay = {"a": {"x": 1}}, {"a": {"y": 2}}

    merged = merge(base, overlay)

    assert merged == {"a": {"x": 1, "y": 2}}
    assert (base, overlay) == ({"a": {"x": 1}}, {"a": {"y": 2}})


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("1e-3", 1e-3), ("true", True), ("[1, 2]", [1, 2]), ("deep", "deep"), ('"1"', "1")],
)
def test_assigned_text_is_read_as_toml_or_else_as_a_word(text: str, value: object) -> None:
    assert assign({}, [f"a.b={text}"]) == {"a": {"b": value}}


def test_later_assignment_wins() -> None:
    assert assign({"a": 0}, ["a=1", "a=2"]) == {"a": 2}


@pytest.mark.parametrize("text", ["steps", "=3", "", "a..b=1", ".a=1"])
def test_assignment_without_key_or_value_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not key=value"):
        assign({}, [text])


@pytest.mark.parametrize(
    "content", [b"a = ", b"\xff\xfe", b"a = 1\na = 2"], ids=["no value", "no text", "twice"]
)
def test_broken_toml_is_a_config_error_that_names_the_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=r"x\.toml"):
        read_toml(path)


def test_missing_toml_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        read_toml(tmp_path / "none.toml")


@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
def test_a_number_that_is_not_finite_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match=r"train\.rate must be finite"):
        parse(Outer, assign({}, [f"train.rate={text}"]))
