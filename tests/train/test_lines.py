"""Tests for mriimpute.train.lines."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from mriimpute.data import cohort
from mriimpute.progress import silent
from mriimpute.train.lines import read_lines
from mriimpute.train.settings import LineSettings, read


def settings(**lines: Any) -> LineSettings:
    tables = {
        "lines": {"gaps": [2, 3], "gap_mm": [1.0, 9.0], **lines},
        "train": {"val_patches": 3},
    }
    chosen = read({"name": "cross-plane", **tables}, seed=0)
    assert isinstance(chosen, LineSettings)
    return chosen


def test_no_more_slices_are_watched_than_asked_for(sim: Path) -> None:
    _, watch = read_lines(cohort(sim), settings(), silent)

    assert {gap: len(images) for gap, images in watch.items()} == {2: 3, 3: 3}


def test_scans_that_are_watched_are_not_learnt_from(sim: Path) -> None:
    train, watch = read_lines(cohort(sim), settings(), silent)

    seen = {name for images in watch.values() for image in images for name in image.lines.names}
    assert {scan.name for scan in train} == {"sub-0_T1w.nii.gz", "sub-1_T1w.nii.gz"}
    assert seen == {"sub-2_T1w.nii.gz"}


def test_a_scan_too_small_to_hide_lines_in_is_not_learnt_from(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    for name, shape in (("large", (12, 12, 4)), ("small", (3, 2, 4))):
        data = rng.random(shape).astype(np.float32)
        nib.save(nib.Nifti1Image(data, np.diag([1, 1, 3, 1.0])), tmp_path / f"{name}.nii.gz")

    train, _ = read_lines(cohort(tmp_path), settings(), silent)

    assert {scan.name for scan in train} == {"large.nii.gz"}


def test_without_scans_to_watch_those_to_learn_from_are_watched(
    sim: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (sim / "cohort" / "sub-3" / "anat" / "sub-3_T1w.nii.gz").unlink()
    (sim / "cohort" / "participants.tsv").unlink()

    train, watch = read_lines(cohort(sim), settings(), silent)

    assert len(train) == 3
    assert watch[3]
    assert "no scans to watch" in caplog.text


def test_every_scan_read_is_a_step_of_progress(sim: Path) -> None:
    told = []

    def track(items: Iterable[Any], *, total: int, label: str) -> Iterator[Any]:
        found = list(items)
        told.append((label, total, len(found)))
        yield from found

    read_lines(cohort(sim), settings(scales=[1.0]), track)

    assert told == [("reading", 3, 3), ("resizing slices", 2, 2)]
