"""Tests for mriimpute.imputation.request: what counts as done before."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mriimpute.imputation.jobs import Job
from mriimpute.imputation.request import Request, is_done
from mriimpute.imputation.scan import impute_scan
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
