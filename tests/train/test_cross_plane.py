"""Tests for mriimpute.train.cross_plane."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from mriimpute.checkpoint import load
from mriimpute.config import merge
from mriimpute.errors import TrainingError
from mriimpute.progress import silent
from mriimpute.train import train

SETTINGS: dict[str, Any] = {
    "name": "cross-plane",
    "model": {"channels": 4, "blocks": 1, "hidden": 4},
    "lines": {"gaps": [2, 3], "edge": 12},
    "train": {"patches": 48, "batch": 4, "rate": 0.01, "report": 16, "val_patches": 2},
}


def fit(sim: Path, run: Path, **changes: Any) -> Path:
    chosen = merge(SETTINGS, changes)
    return train(sim, run, chosen, seed=0, device="cpu", max_minutes=None, track=silent)


def journal(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]


def test_smooth_texture_is_learnt(tmp_path: Path, rng: np.random.Generator) -> None:
    texture = ndimage.gaussian_filter(rng.normal(size=(24, 24, 5)), (1.5, 1.5, 0), mode="wrap")
    image = nib.Nifti1Image(texture.astype(np.float32), np.diag([1.0, 1.0, 3.0, 1.0]))
    nib.save(image, tmp_path / "head.nii.gz")

    lines = {"gaps": [3], "edge": 16, "gamma": 0.0, "contrast": 0.0, "short": 0.0}
    course = {"patches": 240, "report": 60, "average": 0.8}
    fit(tmp_path / "head.nii.gz", tmp_path / "run", lines=lines, train=course)

    first, *_, last = journal(tmp_path / "run")
    assert last["loss"] < 0.9 * first["loss"]
    assert last["val_gain_db"]["3"] > 0.5


def test_stopped_run_ends_with_the_bytes_of_one_that_never_stopped(
    sim: Path, tmp_path: Path, stop_after: Callable[[int], None]
) -> None:
    whole = fit(sim, tmp_path / "whole")

    stop_after(6)
    with pytest.raises(KeyboardInterrupt):
        fit(sim, tmp_path / "parts")
    stop_after(1000)
    half = load(tmp_path / "parts" / "model.safetensors")[1]["step"]
    parts = fit(sim, tmp_path / "parts")

    assert half == 6
    assert parts.read_bytes() == whole.read_bytes()
    timing = ("seconds", "steps_per_second")
    first, second = (
        [{k: v for k, v in line.items() if k not in timing} for line in journal(path.parent)]
        for path in (whole, parts)
    )
    assert first == second


def test_model_knows_every_gap_that_it_was_asked_to_learn(sim: Path, tmp_path: Path) -> None:
    tensors, document = load(fit(sim, tmp_path / "run"))

    factors = {name: len(tensor) for name, tensor in tensors.items() if name.startswith("factor")}
    assert factors == {"factor.2": 1, "factor.3": 2}
    assert all((tensors[name] > 0).all() for name in factors)
    assert document["model"] == SETTINGS["model"]


def test_finished_run_is_left_alone(
    sim: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(sim, tmp_path / "run")

    with caplog.at_level("INFO"):
        fit(sim, tmp_path / "run")

    assert "is finished: 48 crops" in caplog.text


def test_cohort_without_a_stack_cannot_be_learnt_from(tmp_path: Path) -> None:
    data = np.random.default_rng(0).random((6, 6, 6)).astype(np.float32)
    data[2:4, 2:4, 2:4] = np.nan
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "head.nii.gz")

    with pytest.raises(TrainingError, match="no scan of the cohort is a stack of slices"):
        fit(tmp_path / "head.nii.gz", tmp_path / "run")
