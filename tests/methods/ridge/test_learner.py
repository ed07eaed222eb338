"""Tests for mriimpute.methods.ridge.learner."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mriimpute.checkpoint import load
from mriimpute.errors import TrainingError
from mriimpute.progress import silent
from mriimpute.training import preset, train


def fit(sim: Path, run: Path) -> Path:
    chosen = {**preset("cross-plane-ridge"), "model": {"columns": 3, "angles": 2}}
    return train(sim, run, chosen, seed=0, device="cpu", max_minutes=None, track=silent)


def test_model_holds_the_moments_of_every_gap_of_the_train_split(
    sim: Path, tmp_path: Path
) -> None:
    path = sim / "cohort" / "sub-1" / "anat" / "sub-1_T1w.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32), np.diag([1, 1, 2, 1])), path)

    tensors, document = load(fit(sim, tmp_path / "run"))

    assert {name.split(".")[0] for name in tensors} == {"gap2", "gap3"}
    assert document["scans"] == 2
    assert all(tensors[f"gap{gap}.count"].sum() > 0 for gap in (2, 3))


def test_stopped_run_ends_with_the_bytes_of_one_that_never_stopped(
    sim: Path, tmp_path: Path, stop_after: Callable[[int], None]
) -> None:
    whole = fit(sim, tmp_path / "whole")

    stop_after(1)
    with pytest.raises(KeyboardInterrupt):
        fit(sim, tmp_path / "parts")
    first = load(tmp_path / "parts" / "model.safetensors")[1]["step"]
    parts = fit(sim, tmp_path / "parts")

    assert first == 1
    assert parts.read_bytes() == whole.read_bytes()
    assert len(parts.with_name("journal.jsonl").read_text().splitlines()) == 2


def test_finished_run_is_left_alone(
    sim: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(sim, tmp_path / "run")

    with caplog.at_level("INFO"):
        fit(sim, tmp_path / "run")

    assert "is finished: 2 scans" in caplog.text


def test_scan_that_is_too_small_is_named(
    sim: Path, tmp_path: Path, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    data = rng.random((3, 3, 6)).astype(np.float32)
    path = sim / "cohort" / "sub-1" / "anat" / "sub-1_T1w.nii.gz"
    nib.save(nib.Nifti1Image(data, np.diag([1.0, 1.0, 3.0, 1.0])), path)

    fit(sim, tmp_path / "run")

    assert "sub-1_T1w.nii.gz has no room to hide lines in and is left out" in caplog.text


def test_cohort_without_a_stack_cannot_be_learnt_from(tmp_path: Path) -> None:
    data = np.random.default_rng(0).random((6, 6, 6)).astype(np.float32)
    data[2:4, 2:4, 2:4] = np.nan
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "head.nii.gz")

    with pytest.raises(TrainingError, match="no scan of the cohort is a stack of slices"):
        fit(tmp_path / "head.nii.gz", tmp_path / "run")
