"""Tests for mriimpute.methods.registry."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.main import get_command

from mriimpute.checkpoint import save
from mriimpute.cli import app
from mriimpute.errors import CheckpointError, ConfigError
from mriimpute.methods.registry import METHODS, load_imputer, model_file, without_weights
from mriimpute.methods.ridge.moments import Config, Moments, packed

SMALL = {"columns": 3, "angles": 1, "coherence": [], "strength": []}


def sums(columns: int = 3) -> dict[str, np.ndarray]:
    config = Config(columns=columns, angles=1, coherence=(), strength=())
    return packed({3: Moments.empty(config, 3)})


def test_model_of_a_run_folder_is_loaded(tmp_path: Path) -> None:
    document = {"name": "cross-plane-ridge", "model": SMALL}
    save(tmp_path / "model.safetensors", sums(), document)

    imputer = load_imputer(str(tmp_path), device="cpu")

    assert imputer.name == "cross-plane-ridge"


@pytest.mark.parametrize(
    ("document", "missing"),
    [
        ({}, "lacks 'name'"),
        ({"name": "cross-plane-ridge"}, "lacks 'model'"),
        ({"name": "cross-plane-ridge", "model": 3}, "cannot be used"),
        ({"name": "cross-plane-ridge", "model": {"rows": 3}}, "no setting is called"),
        ({"name": "ppca"}, "lacks 'model'"),
        ({"name": "unheard-of", "model": {}}, "no model is called 'unheard-of'"),
    ],
)
def test_file_of_ours_with_a_gap_is_a_checkpoint_error(
    tmp_path: Path, document: dict[str, Any], missing: str
) -> None:
    path = tmp_path / "model.safetensors"
    save(path, sums(), document)

    with pytest.raises(CheckpointError, match=missing) as failure:
        load_imputer(str(path), device="cpu")

    assert str(path) in str(failure.value)


@pytest.mark.parametrize("tensors", [{"gap3.count": np.zeros(1)}, {"w": np.ones(2)}, sums(5)])
def test_sums_that_do_not_fit_are_a_checkpoint_error(
    tmp_path: Path, tensors: dict[str, np.ndarray]
) -> None:
    path = tmp_path / "model.safetensors"
    save(path, tensors, {"name": "cross-plane-ridge", "model": SMALL})

    with pytest.raises(CheckpointError, match="cannot be used"):
        load_imputer(str(path), device="cpu")


@pytest.mark.parametrize("trained", [False, True])
def test_a_method_that_cannot_adapt_says_so(trained: bool, tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", sums(), {"name": "cross-plane-ridge", "model": SMALL})
    name = str(tmp_path) if trained else "cross-plane-ridge"

    with pytest.raises(ConfigError, match="cannot adapt to a scan"):
        load_imputer(name, device="cpu", adapt=True)


def test_folder_and_file_stand_for_one_model_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.touch()

    assert model_file(tmp_path) == model_file(str(path)) == path
    with pytest.raises(ConfigError, match="no model is called"):
        model_file("nonsense")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"empty holds no model\.safetensors"):
        model_file(tmp_path / "empty")


def test_a_model_without_weights_is_said_to_need_training() -> None:
    with pytest.raises(ConfigError, match="ppca has no weights in the package") as failure:
        load_imputer("ppca", device="cpu")

    assert "mriimpute train SCANS --model ppca" in failure.value.hint


@pytest.mark.parametrize(("typed", "meant"), [("cross_plane", "cross-plane"), ("Cubik", "cubic")])
def test_a_slip_of_the_pen_is_answered_with_what_was_meant(typed: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"no model is called '{typed}'") as failure:
        load_imputer(typed, device="cpu")

    assert failure.value.hint.startswith(f"did you mean {meant!r}? known: cross-plane, nearest, ")
    assert not set("[](){}") & set(failure.value.hint)


@pytest.mark.parametrize("name", without_weights())
def test_method_answers_to_its_name(name: str) -> None:
    assert load_imputer(name, device="cpu").name == name


@pytest.mark.parametrize("name", without_weights())
def test_method_without_weights_cannot_adapt(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} cannot adapt"):
        load_imputer(name, device="cpu", adapt=True)


@pytest.mark.parametrize("name", [name for name in without_weights() if METHODS[name].uses_device])
def test_method_fitted_to_each_scan_computes_where_it_is_told(name: str) -> None:
    assert load_imputer(name, device="meta").device == "meta"


def test_help_of_impute_names_every_method() -> None:
    command = get_command(app).commands["impute"]  # type: ignore[attr-defined]
    told = next(option.help for option in command.params if option.name == "model")

    assert [name for name in without_weights() if name not in told] == []


@pytest.mark.parametrize("trained", [False, True])
def test_a_method_without_a_faster_way_says_so(trained: bool, tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", sums(), {"name": "cross-plane-ridge", "model": SMALL})
    name = str(tmp_path) if trained else "linear"

    with pytest.raises(ConfigError, match="has no faster way"):
        load_imputer(name, device="cpu", fast=True)
