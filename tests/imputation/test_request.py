"""Tests for mriimpute.imputation.request: what counts as done before."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mriimpute.imputation.jobs import Job
from mriimpute.imputation.request import Request, is_done, named
from mriimpute.imputation.scan import impute_scan
from mriimpute.io import checksum
from mriimpute.methods.interpolation import Interpolation


class Sociable(Interpolation):
    """Interpolates, whatever companions there are."""

    uses_companions = True


def save(path: Path, data: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(data, np.diag([1.0, 1.0, 3.0, 1.0])).to_filename(path)
    return path


@pytest.fixture
def scan(tmp_path: Path, rng: np.random.Generator) -> Path:
    return save(tmp_path / "in" / "a.nii.gz", rng.normal(500, 90, (6, 5, 4)).astype(np.float32))


def impute(job: Job, request: Request) -> dict[str, object]:
    """Imputes a scan and returns what is recorded of it."""
    impute_scan(
        job,
        Sociable("linear"),
        request,
        record=lambda facts: {"settings": facts},
        overwrite=True,
    )
    return json.loads(job.record.read_text())["settings"]


def test_a_companion_that_cannot_be_read_is_recorded_without_a_checksum(
    scan: Path, tmp_path: Path
) -> None:
    gone = tmp_path / "in" / "gone.nii.gz"
    gone.symlink_to(tmp_path / "nowhere.nii.gz")
    request = Request(model="linear", together=True)
    job = Job(scan, tmp_path / "out", companions=(gone,))

    settings = impute(job, request)

    assert settings["companions"] == [{"name": "gone.nii.gz", "sha256": ""}]
    assert is_done(job, request)
    save(tmp_path / "nowhere.nii.gz", np.ones((6, 5, 4), np.float32))
    assert not is_done(job, request)  # now it might help


def marks(path: Path, step: int) -> Path:
    observed = np.zeros((6, 5, 4), np.uint8)
    observed[:, ::step] = 1
    return save(path, observed)


def test_an_observed_image_of_the_same_name_and_other_content_is_another_request(
    scan: Path, tmp_path: Path
) -> None:
    one, other = (marks(tmp_path / str(n) / "x.nii.gz", n) for n in (2, 3))
    job = Job(scan, tmp_path / "out")

    settings = impute(job, Request(model="linear", observed=one))

    assert settings["observed_sha256"] == checksum(one)
    assert is_done(job, Request(model="linear", observed=one))
    assert not is_done(job, Request(model="linear", observed=other))


@pytest.mark.parametrize("change", ["added", "edited", "removed"])
def test_an_observed_image_beside_the_scan_is_part_of_the_input(
    change: str, scan: Path, tmp_path: Path
) -> None:
    beside, request = scan.with_name("a_desc-observed.nii.gz"), Request(model="linear")
    job = Job(scan, tmp_path / "out")
    if change != "added":
        marks(beside, 2)

    impute(job, request)

    assert is_done(job, request)
    if change == "removed":
        beside.unlink()
    else:
        marks(beside, 3)
    assert not is_done(job, request)


def test_an_observed_image_beside_a_companion_is_part_of_it(tmp_path: Path) -> None:
    other = save(tmp_path / "b.nii.gz", np.ones((6, 5, 4), np.float32))
    beside = marks(tmp_path / "b_desc-observed.nii.gz", 2)

    (before,) = named([other])

    assert before["observed_sha256"] == checksum(beside)
    marks(beside, 3)
    assert [before] != named([other])
    beside.unlink()
    assert named([other]) == [{"name": "b.nii.gz", "sha256": checksum(other)}]


def test_another_thickness_in_the_sidecar_is_another_request(scan: Path, tmp_path: Path) -> None:
    sidecar, request = scan.with_name("a.json"), Request(model="linear", thickness_mm="auto")
    job = Job(scan, tmp_path / "out")
    sidecar.write_text('{"SliceThickness": 2.5}')

    settings = impute(job, request)

    assert settings["assumed_thickness_mm"] == 2.5
    assert is_done(job, request)
    sidecar.write_text('{"SliceThickness": 3}')
    assert not is_done(job, request)
