"""Tests for mriimpute.cohort.preprocess."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mriimpute.cohort import Cache, cache
from mriimpute.cohort.preprocess import Task, preprocess, preprocessed
from mriimpute.errors import MriImputeError, VolumeError


@pytest.fixture
def scans(tmp_path: Path, rng: np.random.Generator) -> list[Path]:
    """Six scans, of which the fourth is broken."""
    paths = [tmp_path / f"{name}.nii.gz" for name in "abcdef"]
    for path in paths:
        data = rng.random((15, 15, 6)).astype(np.float32)
        nib.save(nib.Nifti1Image(data, np.diag([1.0, 1.0, 3.0, 1.0])), path)
    paths[3].write_bytes(b"no image")
    return paths


def built(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("scales", [(1.0, 1.4, 2.0), (), None])
def test_what_is_wanted_of_a_scan_is_in_the_cache(
    scans: list[Path],
    tmp_path: Path,
    scales: tuple[float, ...] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mriimpute.cohort.slices.FEWEST_PIXELS", 10)

    task = Task(scans[0]) if scales is None else Task(scans[0], "slices", scales)
    preprocess(task, Cache(tmp_path / "cache"))

    assert len(built(tmp_path / "cache")) == (2 if scales else 1)
    monkeypatch.delattr(cache, "read_sparse" if scales is None else "read_slices")
    kept = Cache(tmp_path / "cache")
    found = kept.sparse(scans[0]) if scales is None else kept.slices(scans[0])
    assert found


@pytest.mark.usefixtures("quick_processes")
def test_one_and_two_processes_write_the_same_bytes_and_find_the_same_scan_broken(
    scans: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [Task(path, "slices", (1.0,)) for path in scans]
    found = {}
    for jobs in (1, 2):
        kept = Cache(tmp_path / str(jobs))
        outcomes = list(preprocessed(tasks, kept, jobs=jobs))
        found[jobs] = [(task, type(error), str(error)) for task, error in outcomes]

    assert [task for task, *_ in found[2]] == tasks
    assert found[1] == found[2]
    assert [kind for _, kind, _ in found[1]].count(type(None)) == 5
    assert found[1][3][1] is VolumeError
    assert built(tmp_path / "1") == built(tmp_path / "2")


@pytest.mark.usefixtures("quick_processes")
def test_who_stops_asking_leaves_no_process_behind(scans: list[Path], tmp_path: Path) -> None:
    kept = Cache(tmp_path / "cache")
    outcomes = preprocessed([Task(path) for path in scans[:3]], kept, jobs=2)

    task, error = next(outcomes)
    outcomes.close()

    assert (task.path, error) == (scans[0], None)
    assert not list((tmp_path / "cache").glob(".*"))


def test_an_error_is_raised_by_nobody_but_told(scans: list[Path], tmp_path: Path) -> None:
    ((_, error),) = preprocessed([Task(scans[3], "slices")], Cache(tmp_path / "cache"), jobs=8)

    assert isinstance(error, MriImputeError)
