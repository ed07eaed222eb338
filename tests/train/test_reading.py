"""Tests for mriimpute.train.reading: a cohort with scans that cannot be read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mriimpute.checkpoint import load
from mriimpute.data import Cohort
from mriimpute.errors import MriImputeError, VolumeError
from mriimpute.progress import silent
from mriimpute.train import preset, train
from mriimpute.train.reading import readable

Told = Callable[[Path, MriImputeError], None]


def scan_of(sim: Path, number: int) -> Path:
    return sim / "cohort" / f"sub-{number}" / "anat" / f"sub-{number}_T1w.nii.gz"


def fit(sim: Path, run: Path, told: Told | None) -> Path:
    chosen = {**preset("cross-plane-ridge"), "model": {"columns": 3, "angles": 2}}
    options = {"seed": 0, "device": "cpu", "max_minutes": None, "track": silent}
    return train(sim, run, chosen, on_failure=told, **options)  # type: ignore[arg-type]


def test_scans_that_cannot_be_read_are_named_before_any_is_learnt_from(sim: Path) -> None:
    scan_of(sim, 1).write_bytes(b"no image")
    scan_of(sim, 2).unlink()
    told: list[Path] = []
    scans = Cohort((scan_of(sim, 0), scan_of(sim, 1)), (scan_of(sim, 2),))

    kept, broken = readable(scans, on_failure=lambda path, _: told.append(path), track=silent)

    assert kept == Cohort((scan_of(sim, 0),), ())
    assert list(broken) == told == [scan_of(sim, 1), scan_of(sim, 2)]


def test_without_anyone_to_tell_the_first_broken_scan_is_an_error(
    sim: Path, tmp_path: Path
) -> None:
    scan_of(sim, 1).write_bytes(b"no image")

    with pytest.raises(VolumeError, match="sub-1_T1w"):
        fit(sim, tmp_path / "run", None)


def test_cohort_of_broken_scans_alone_is_an_error(sim: Path, tmp_path: Path) -> None:
    for number in (0, 1):
        scan_of(sim, number).write_bytes(b"no image")

    with pytest.raises(VolumeError, match="none of the 2 scans to learn from can be read"):
        fit(sim, tmp_path / "run", lambda *_: None)


def test_model_is_that_of_the_other_scans_and_says_how_many_are_missing(
    sim: Path, tmp_path: Path
) -> None:
    scan_of(sim, 1).write_bytes(b"no image")
    model = fit(sim, tmp_path / "run", lambda *_: None)
    scan_of(sim, 1).unlink()
    alone = fit(sim, tmp_path / "alone", None)

    tensors, document = load(model)

    expected, _ = load(alone)
    assert all((tensors[name] == expected[name]).all() for name in expected)
    assert (document["scans"], document["scans_left_out"]) == (1, 1)
    noted = json.loads((tmp_path / "run" / "unreadable.json").read_text())
    assert noted == {"scans": ["sub-1_T1w.nii.gz"]}
    assert b"sub-1_T1w" not in model.read_bytes()  # a model may leave the house
    assert not (tmp_path / "alone" / "unreadable.json").exists()
