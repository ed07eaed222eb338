"""Tests for mriimpute.imputation.companions, with a method that copies its first companion."""

import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import ndimage

from mriimpute.errors import VolumeError
from mriimpute.imputation.companions import HelpedImputer, aligned
from mriimpute.io import checksum
from mriimpute.methods.base import Imputation
from mriimpute.methods.interpolation import Interpolation
from mriimpute.volume import Volume

SHAPE = (24, 26, 22)


class Copy(Interpolation):
    """Fills with what its first companion shows, and interpolates without one."""

    uses_companions = True

    def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
        if not self.companions:
            return super().impute(volume, seed=seed, case=case)
        other = self.companions[0].data
        return Imputation(np.where(volume.observed, volume.data, other))


@pytest.fixture
def head(rng: np.random.Generator) -> np.ndarray:
    field = ndimage.gaussian_filter(rng.normal(size=SHAPE), 1.5)
    return (500 + 900 * field / field.std()).astype(np.float32)


@pytest.fixture
def volume(head: np.ndarray) -> Volume:
    observed = np.zeros(SHAPE, bool)
    observed[..., ::3] = True
    return Volume(np.where(observed, head, np.float32(np.nan)), observed, np.eye(4))


def save(path: Path, data: np.ndarray, affine: np.ndarray) -> Path:
    nib.Nifti1Image(data, affine).to_filename(path)
    return path


def test_a_companion_of_other_axes_comes_onto_the_grid(
    head: np.ndarray, volume: Volume, tmp_path: Path
) -> None:
    """Stored back to front in another order: the same voxels at the same places."""
    stored = head.transpose(2, 0, 1)[:, ::-1]
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = 1, -1, 1, 1
    affine[0, 3] = SHAPE[0] - 1
    path = save(tmp_path / "other.nii.gz", np.ascontiguousarray(stored), affine)

    found = HelpedImputer(Copy("linear"), [path]).impute(volume, seed=0, case="a")

    assert_allclose(found.mean, head, atol=0.1)


def test_what_a_companion_did_not_see_is_not_a_number(
    head: np.ndarray, volume: Volume, tmp_path: Path
) -> None:
    path = save(tmp_path / "half.nii.gz", head[:12], np.eye(4))

    (one,) = aligned([path], volume, Copy("linear"), seed=0)

    assert np.isnan(one.companion.data[12:]).all()
    assert np.isfinite(one.companion.data[:12]).all()
    assert one.share == pytest.approx(0.5)


def test_one_that_cannot_be_read_is_left_out_or_an_error(
    volume: Volume, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bad.nii.gz").write_bytes(b"no image")
    paths = [tmp_path / "bad.nii.gz"]

    with caplog.at_level(logging.WARNING):
        assert not list(aligned(paths, volume, Copy("linear"), seed=0, ignored={}))
    assert "bad.nii.gz helps nobody" in caplog.text
    with pytest.raises(VolumeError):
        list(aligned(paths, volume, Copy("linear"), seed=0))


def test_a_copy_of_the_scan_is_no_companion(
    head: np.ndarray, volume: Volume, tmp_path: Path
) -> None:
    path = save(tmp_path / "copy.nii.gz", head, np.eye(4))
    ignored: dict[str, str] = {}
    given = {"seed": 0, "content": checksum(path)}

    with pytest.raises(VolumeError, match=r"copy\.nii\.gz is the scan that it is to help"):
        list(aligned([path], volume, Copy("linear"), **given))

    assert not list(aligned([path], volume, Copy("linear"), **given, ignored=ignored))
    assert ignored == {"copy.nii.gz": "copy.nii.gz is the scan that it is to help"}


@pytest.mark.parametrize(("axis", "crosses"), [(0, True), (2, False), (None, True)])
def test_slices_that_do_not_cross_are_known(
    axis: int | None, crosses: bool, head: np.ndarray, volume: Volume, tmp_path: Path
) -> None:
    """Axis across the slices of a companion, of which every third is there; None: all are."""
    thick = np.eye(4)
    if axis is not None:
        head = np.moveaxis(np.moveaxis(head, axis, 0)[::3], 0, axis)
        thick[axis, axis] = 3
    path = save(tmp_path / "other.nii.gz", np.ascontiguousarray(head), thick)

    (found,) = aligned([path], volume, Copy("linear"), seed=0)

    assert found.companion.crosses == crosses
