"""What results take on disk: checked before any work, and told afterwards."""

import gzip
import json
import shutil
from collections import namedtuple
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from mriimpute.cli import app
from mriimpute.cohort.target_grid import TargetGrid, to_target_grid
from mriimpute.imputation.disk import needed_bytes, stated_bytes, written
from mriimpute.imputation.jobs import Job
from mriimpute.imputation.request import Request
from mriimpute.io import read_scan
from mriimpute.methods.base import Imputation, Imputer
from mriimpute.volume import Volume

Usage = namedtuple("Usage", ["total", "used", "free"])

SHAPE = (30, 28, 31)


class Method(Imputer):
    """One that gives draws."""

    name = "method"

    def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
        """Never called."""
        raise NotImplementedError


def grid(every: int) -> TargetGrid:
    observed = np.zeros(SHAPE, bool)
    observed[:, :, ::every] = True
    volume = Volume(np.ones(SHAPE, np.float32), observed, np.eye(4))
    return TargetGrid(volume, axis=2, factor=every)


def call(*words: object) -> Result:
    options = ["impute", "--model=cross-plane-ridge", "--device=cpu"]
    return CliRunner().invoke(app, [*options, *map(str, words)])


@pytest.fixture
def scan(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A scan in a folder of its own."""
    data = rng.normal(500, 100, (20, 18, 6)).astype(np.float32)
    (tmp_path / "in").mkdir()
    nib.save(nib.Nifti1Image(data, np.diag([1, 1, 3.0, 1])), tmp_path / "in" / "a.nii.gz")
    return tmp_path / "in" / "a.nii.gz"


def full(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12 - free, free))


def test_noise_of_single_precision_takes_at_least_what_is_asked_for(
    rng: np.random.Generator,
) -> None:
    few, many = (needed_bytes(grid(3), Method(), Request(model="", samples=n)) for n in (1, 21))
    noise = rng.normal(size=SHAPE).astype(np.float32)
    noise[:, :, ::3] = 7

    draw = len(gzip.compress(noise.tobytes(), 3))

    assert 0.75 * draw < (many - few) / 20 < draw


def test_more_missing_more_space(rng: np.random.Generator) -> None:
    request = Request(model="", samples=20)

    sizes = [needed_bytes(grid(every), Method(), request) for every in (1, 2, 3, 6)]

    assert sizes[0] == 0
    assert sizes == sorted(sizes)


def test_draws_that_cannot_fit_are_refused_in_two_lines_before_anything_is_written(
    scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full(monkeypatch, 100_000)

    result = call(scan, "--samples", 20, "-q")

    error, hint = result.stderr.splitlines()
    assert result.exit_code == 1
    assert error.startswith("error: ")
    assert "the results take at least" in error
    assert "98 KiB are free" in error
    assert "--samples" in hint
    assert [path.name for path in scan.parent.iterdir()] == ["a.nii.gz"]


def test_headers_tell_what_images_take(scan: Path, tmp_path: Path) -> None:
    request = Request(model="", samples=20)
    (tmp_path / "torn.nii.gz").write_bytes(b"torn")
    read = to_target_grid(read_scan(scan))

    stated = [
        stated_bytes(Job(path, tmp_path), Method(), request) for path in tmp_path.rglob("*.gz")
    ]

    assert sorted(stated) == [0, needed_bytes(read, Method(), request)]


def test_a_batch_that_cannot_fit_is_refused_before_its_first_scan(
    scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(scan, scan.with_name("b.nii.gz"))
    each = stated_bytes(Job(scan, scan.parent), Method(), Request(model="", samples=20))
    full(monkeypatch, 2 * each - 1)

    result = call(scan.parent, "--samples", 20, "-o", scan.parents[1] / "out", "-q")

    error, hint = result.stderr.splitlines()
    assert result.exit_code == 1
    assert error.startswith("error: the results of 2 scans take at least")
    assert "--samples" in hint
    assert not (scan.parents[1] / "out").exists()


def test_a_header_that_is_no_scan_stops_no_other(
    scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat, huge = np.ones((9, 9), np.float32), np.ones((9, 9, 6), np.float32)
    nib.save(nib.Nifti1Image(flat, np.eye(4)), scan.with_name("flat.nii.gz"))
    nib.save(nib.Nifti1Image(huge, np.diag([1, 1, 6e4, 1])), scan.with_name("huge.nii.gz"))
    full(monkeypatch, 10**7)
    out = scan.parents[1] / "out"

    result = call(scan.parent, "--samples", 2, "-o", out, "-q")

    assert result.exit_code == 1
    assert result.stderr.count("error: ") == 2, result.stderr
    assert [path.name for path in out.rglob("*_desc-mean.nii.gz")] == ["a_desc-mean.nii.gz"]


def test_what_fits_is_written_and_what_is_replaced_makes_room(
    scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full(monkeypatch, 100_000)

    first = call(scan, "--samples", 1, "-q")
    full(monkeypatch, 0)
    again = call(scan, "--samples", 1, "-q", "--overwrite")
    more = call(scan, "--samples", 9, "-q", "--overwrite")

    assert [result.exit_code for result in (first, again, more)] == [0, 0, 1], first.stderr


def test_a_file_system_that_does_not_tell_is_trusted(
    scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(path: Path) -> Usage:
        raise OSError("no such thing here")

    monkeypatch.setattr(shutil, "disk_usage", unknown)

    assert call(scan, "--samples", 2, "-q").exit_code == 0


def test_all_files_of_a_scan_are_named_with_their_sizes(scan: Path) -> None:
    result = call(scan, "--samples", 3)

    folder = scan.parent / "a_imputed"
    found = written(Job(scan, folder))
    names = [each.name for each in found]
    assert names == [
        *("a_desc-mean.nii.gz", "a_desc-mean.json", "a_desc-std.nii.gz", "a_desc-std.json"),
        *("a_desc-observed.nii.gz", "a_desc-observed.json"),
        "a_desc-draw001.nii.gz to a_desc-draw003.nii.gz",
        "a_desc-draw001.json to a_desc-draw003.json",
    ]
    files = list(folder.iterdir())
    assert sum(each.files for each in found) == len(files) == 12
    assert sum(each.size for each in found) == sum(file.stat().st_size for file in files)
    for name in names:
        assert name in result.stderr
    assert "12 files, " in result.stderr
    assert "of memory" in result.stderr
    assert result.stdout == f"{folder / 'a_desc-mean.nii.gz'}\n"


def test_the_report_tells_the_bytes_of_each_scan(scan: Path, tmp_path: Path) -> None:
    call(scan, "-o", tmp_path / "out", "--report", tmp_path / "run.json", "-q")

    (case,) = json.loads((tmp_path / "run.json").read_text())["cases"]
    assert case["bytes"] == sum(file.stat().st_size for file in (tmp_path / "out").iterdir())
