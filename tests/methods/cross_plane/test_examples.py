"""Which slices the cross-plane network learns from, and which it validates on."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from mriimpute.cohort import Cache
from mriimpute.cohort.slices import SliceScan
from mriimpute.cohort.split import Cohort, cohort
from mriimpute.methods.cross_plane.learner import LineLearner
from mriimpute.methods.cross_plane.validation import ValidationSlice
from mriimpute.training.run import build
from mriimpute.training.settings import read


def read_lines(
    scans: Cohort, folder: Path, **lines: Any
) -> tuple[list[SliceScan], dict[int, list[ValidationSlice]]]:
    """Returns what a run learns from, and what it validates on."""
    tables = {
        "lines": {"gaps": [2, 3], "gap_mm": [1.0, 9.0], **lines},
        "train": {"val_patches": 3, "start": "scratch"},
    }
    learner = build(read({"name": "cross-plane", **tables}, seed=0), device="cpu")
    assert isinstance(learner, LineLearner)
    learner.prepare(scans, Cache(folder / "cache"))
    return list(learner.scans), learner.validation


def test_no_more_slices_are_validated_on_than_asked_for(sim: Path, tmp_path: Path) -> None:
    _, validation = read_lines(cohort(sim), tmp_path)

    assert {gap: len(images) for gap, images in validation.items()} == {2: 3, 3: 3}


def test_scans_that_are_validated_on_are_not_learnt_from(sim: Path, tmp_path: Path) -> None:
    train, validation = read_lines(cohort(sim), tmp_path)

    seen = {
        name for images in validation.values() for image in images for name in image.lines.names
    }
    assert {scan.name for scan in train} == {"sub-0_T1w.nii.gz", "sub-1_T1w.nii.gz"}
    assert seen == {"sub-2_T1w.nii.gz"}


def test_a_scan_too_small_to_hide_lines_in_is_not_learnt_from(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    for name, shape in (("large", (12, 12, 4)), ("small", (3, 2, 4))):
        data = rng.random(shape).astype(np.float32)
        nib.save(nib.Nifti1Image(data, np.diag([1, 1, 3, 1.0])), tmp_path / f"{name}.nii.gz")

    train, _ = read_lines(cohort(tmp_path), tmp_path)

    assert {scan.name for scan in train} == {"large.nii.gz"}


def test_without_scans_to_validate_on_those_to_learn_from_are_validated_on(
    sim: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (sim / "cohort" / "sub-3" / "anat" / "sub-3_T1w.nii.gz").unlink()
    (sim / "cohort" / "participants.tsv").unlink()

    train, validation = read_lines(cohort(sim), tmp_path)

    assert len(train) == 3
    assert validation[3]
    assert "no scans to validate on" in caplog.text


def test_slices_are_shown_at_every_scale_that_they_are_large_enough_for(
    sim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mriimpute.cohort.slices.FEWEST_PIXELS", 10)

    train, _ = read_lines(cohort(sim), tmp_path, scales=[1.0, 1.4, 2.0])

    assert [scan.pixel_mm[0] for scan in train] == [1.0, 1.0, 1.4, 1.4]


def test_a_scan_without_slices_is_named_and_left_out(
    sim: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scans = cohort(sim)
    holes = np.ones((15, 15, 6), np.uint8)
    holes[::2, ::3, ::2] = holes[1::2, 1::3, 1::2] = holes[:, 1, 0] = 0
    mark = scans.train[1].with_name("sub-1_desc-observedT1w_mask.nii.gz")
    nib.save(nib.Nifti1Image(holes, np.diag([1.0, 1.0, 3.0, 1.0])), mark)

    for _ in range(2):  # with an old cache, too
        caplog.clear()
        train, _ = read_lines(scans, tmp_path)
        assert {scan.name for scan in train} == {"sub-0_T1w.nii.gz"}
        assert caplog.text.count("sub-1_T1w.nii.gz is no stack of slices") == 1
