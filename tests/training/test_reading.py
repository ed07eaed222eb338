"""Tests for mriimpute.training.reading: a cohort with scans that cannot be read."""

import hashlib
import json
import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from mriimpute.checkpoint import load
from mriimpute.cohort import Cache, Cohort, SparseScan, read_sparse
from mriimpute.cohort.preprocess import Task
from mriimpute.cohort.slices import SliceScan, read_slices, resized
from mriimpute.cohort.split import cohort
from mriimpute.errors import ConfigError, MriImputeError, OutputError, VolumeError
from mriimpute.io import Scan, read_scan
from mriimpute.progress import silent
from mriimpute.training import preset, train
from mriimpute.training.reading import readable
from mriimpute.training.run import fingerprint

Told = Callable[[Path, MriImputeError], None]


def scan_of(sim: Path, number: int) -> Path:
    return sim / "cohort" / f"sub-{number}" / "anat" / f"sub-{number}_T1w.nii.gz"


def fit(sim: Path, run: Path, told: Told | None) -> Path:
    chosen = {**preset("cross-plane-ridge"), "model": {"columns": 3, "angles": 2}}
    options = {"seed": 0, "device": "cpu", "max_minutes": None, "track": silent}
    return train(sim, run, chosen, on_failure=told, **options)  # type: ignore[arg-type]


def test_scans_that_cannot_be_read_are_named_before_any_is_learnt_from(
    sim: Path, tmp_path: Path
) -> None:
    scan_of(sim, 1).write_bytes(b"no image")
    scan_of(sim, 2).unlink()
    told: list[Path] = []
    scans = Cohort((scan_of(sim, 0), scan_of(sim, 1)), (scan_of(sim, 2),))

    kept, broken = readable(
        scans,
        [Task(path) for path in (*scans.train, *scans.val)],
        Cache(tmp_path / "cache"),
        on_failure=lambda path, _: told.append(path),
        track=silent,
    )

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


@pytest.mark.parametrize("name", ["cross-plane", "ppca-em", "cross-plane-ridge"])
def test_a_blank_scan_is_left_out_as_one_that_cannot_be_read(
    sim: Path, tmp_path: Path, name: str
) -> None:
    image = nib.load(scan_of(sim, 1))
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.float32), image.affine), scan_of(sim, 1))
    told: dict[str, str] = {}

    def leave_out(path: Path, error: MriImputeError) -> None:
        told[path.name] = str(error)

    if name == "cross-plane-ridge":
        model = fit(sim, tmp_path / "run", leave_out)
    else:
        model = learn(sim, tmp_path / "run", name, on_failure=leave_out)

    assert told == {"sub-1_T1w.nii.gz": "sub-1_T1w.nii.gz is blank: all acquired voxels are 0"}
    assert load(model)[1]["scans_left_out"] == 1


RUNS: dict[str, dict[str, Any]] = {
    "cross-plane": {
        "model": {"channels": 4, "blocks": 1, "hidden": 4},
        "lines": {"gaps": [3], "gap_mm": [1.0, 9.0], "edge": 12, "scales": [1.0, 1.2]},
        "train": {"start": "scratch", "patches": 24, "batch": 4, "report": 16, "val_patches": 2},
    },
    "ppca": {
        "model": {"patch": [4, 4, 4], "latents": 3},
        "train": {"objective": "evidence", "patches": 24, "batch": 4, "val_patches": 8},
    },
    "ppca-em": {
        "model": {"patch": [4, 4, 4], "latents": 3},
        "train": {"patches": 30, "batch": 8, "iterations": 2, "val_patches": 8},
    },
}


def learn(sim: Path, run: Path, name: str, **options: Any) -> Path:
    chosen = {"name": name, **RUNS[name]}
    fixed: Any = {"seed": 0, "device": "cpu", "max_minutes": None, "track": silent}
    return train(sim, run, chosen, **fixed, **options)


class Memory(Cache):
    """Keeps scans in memory, as they are read."""

    def slices(self, path: Path, scale: float = 1.0) -> SliceScan | None:
        found = read_slices(path)
        return found and resized(found, scale)

    def sparse(self, path: Path) -> SparseScan:
        return read_sparse(path)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny slices are shown coarser, too."""
    monkeypatch.setattr("mriimpute.cohort.slices.FEWEST_PIXELS", 10)


def never_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} is read again")

    for name in ("read_slices", "read_sparse", "checksum"):
        monkeypatch.setattr(f"mriimpute.cohort.cache.{name}", refuse)


@pytest.mark.parametrize("name", RUNS)
def test_a_cache_fresh_or_old_or_none_changes_no_byte_of_a_model(
    sim: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setattr("mriimpute.training.run.Cache", Memory)
        expected = learn(sim, tmp_path / "memory", name)

    fresh = learn(sim, tmp_path / "fresh", name, cache=tmp_path / "cache")
    never_read(monkeypatch)
    old = learn(sim, tmp_path / "old", name, cache=tmp_path / "cache")

    assert fresh.read_bytes() == old.read_bytes() == expected.read_bytes()


@pytest.mark.parametrize("name", RUNS)
def test_a_stopped_run_keeps_its_cache_until_it_is_finished(
    sim: Path,
    tmp_path: Path,
    name: str,
    stop_after: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = tmp_path / "run" / "cache"
    stop_after(1)
    with pytest.raises(KeyboardInterrupt):
        learn(sim, tmp_path / "run", name)
    built = len(list(kept.iterdir()))

    stop_after(1000)
    never_read(monkeypatch)
    learn(sim, tmp_path / "run", name)

    assert built == (5 if name == "cross-plane" else 3)
    assert not kept.exists()


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_finished_run_that_refuses_other_scans_keeps_none_of_them(
    sim: Path, tmp_path: Path, interrupted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(sim, tmp_path / "run", "ppca")
    (sim / "cohort" / "participants.tsv").unlink()
    scan_of(sim, 3).unlink()
    if interrupted:

        def press(*arguments: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("mriimpute.training.run.fingerprint", press)

    with pytest.raises(KeyboardInterrupt if interrupted else ConfigError):
        learn(sim, tmp_path / "run", "ppca")

    assert not (tmp_path / "run" / "cache").exists()
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_a_run_begun_anew_uses_what_the_stopped_one_had_read(
    sim: Path,
    tmp_path: Path,
    stop_after: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop_after(1)
    with pytest.raises(KeyboardInterrupt):
        learn(sim, tmp_path / "run", "ppca")

    stop_after(1000)
    never_read(monkeypatch)
    learn(sim, tmp_path / "run", "ppca-em", overwrite=True)

    assert not (tmp_path / "run" / "cache").exists()


def test_a_cache_of_ones_own_is_kept_and_may_not_lie_in_the_cohort(
    sim: Path, tmp_path: Path
) -> None:
    learn(sim, tmp_path / "run", "ppca", cache=tmp_path / "cache")

    assert len(list((tmp_path / "cache").iterdir())) == 3
    assert not (tmp_path / "run" / "cache").exists()
    with pytest.raises(OutputError, match="which is input"):
        learn(sim, tmp_path / "other", "ppca", cache=sim / "cohort" / "cache")


def test_a_disk_that_is_full_stops_a_run_and_is_not_taken_for_a_broken_scan(
    sim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, facts: Any, array: Any) -> None:
        raise OutputError(f"cannot write {path}: no space", hint="free some space")

    monkeypatch.setattr("mriimpute.cohort.cache.write_entry", full)

    with pytest.raises(OutputError, match="no space"):
        learn(sim, tmp_path / "run", "ppca", on_failure=lambda *_: None)


def test_scans_have_a_fingerprint_also_where_a_name_is_not_utf8(tmp_path: Path) -> None:
    scans = [tmp_path / os.fsdecode(name) for name in (b"K\xf6pf.nii", b"K\xf7pf.nii")]

    first, second, plain = (
        fingerprint([path], lambda _: "0" * 64) for path in (*scans, tmp_path / "a.nii")
    )

    assert first != second
    assert plain == hashlib.sha256(f"{'0' * 64}  a.nii".encode()).hexdigest()


def test_every_scan_read_is_a_step_of_progress(sim: Path, tmp_path: Path) -> None:
    told = []

    def track(items: Iterable[Any], *, total: int, label: str) -> Iterator[Any]:
        found = list(items)
        told.append((label, total, len(found)))
        yield from found

    scans = cohort(sim)
    tasks = [Task(path) for path in (*scans.train, *scans.val)]
    readable(scans, tasks, Cache(tmp_path / "cache"), on_failure=None, track=track)

    assert told == [("reading scans", 3, 3)]


@pytest.mark.parametrize("name", ["cross-plane", "ppca-em", "cross-plane-ridge"])
def test_no_more_than_one_scan_is_in_memory_at_a_time(
    sim: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images: list[weakref.ref[Any]] = []
    alive: list[int] = []

    def noted(path: Path, **options: Any) -> Scan:
        alive.append(sum(image() is not None for image in images))
        scan = read_scan(path, **options)
        images.append(weakref.ref(scan.volume.data))
        return scan

    for place in ("cohort.slices", "cohort.sparse", "cohort.preprocess", "methods.ridge.learner"):
        monkeypatch.setattr(f"mriimpute.{place}.read_scan", noted)
    if name == "cross-plane-ridge":
        fit(sim, tmp_path / "run", None)
    else:
        learn(sim, tmp_path / "run", name)

    assert len(alive) == (5 if name == "cross-plane-ridge" else 3)
    assert max(alive) <= 1
    assert not any(image() is not None for image in images)


@pytest.mark.usefixtures("quick_processes")
def test_two_processes_read_a_cohort_to_the_same_model(sim: Path, tmp_path: Path) -> None:
    models = [learn(sim, tmp_path / str(jobs), "ppca", jobs=jobs) for jobs in (1, 2)]

    assert models[0].read_bytes() == models[1].read_bytes()
