"""Tests for mriimpute.imputation.coding: what single precision cannot hold comes back exactly."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mriimpute import impute
from mriimpute.errors import VolumeError
from mriimpute.imputation.coding import PLAIN, coding_of
from mriimpute.io import read_scan

AFFINE = np.diag([1.0, 1.0, 3.0, 1.0])


def field() -> np.ndarray:
    return np.random.default_rng(0).random((10, 9, 5)) * 900


def scan_of(folder: Path, data: np.ndarray, *, scaled: tuple[float, float] | None = None) -> Path:
    image = nib.Nifti1Image(data, AFFINE, dtype=data.dtype)
    if scaled:
        image.header.set_slope_inter(*scaled)
        stored = nib.Nifti1Image(np.zeros(data.shape, data.dtype), AFFINE, dtype=data.dtype)
        stored.header.set_slope_inter(*scaled)
        path = folder / "scan.nii"
        content = bytearray(nib.Nifti1Image(data, AFFINE, dtype=data.dtype).to_bytes())
        content[112:120] = np.array(scaled, "<f4").tobytes()
        path.write_bytes(bytes(content))
        return path
    image.to_filename(folder / "scan.nii")
    return folder / "scan.nii"


@pytest.mark.parametrize(
    "data",
    [
        (field() * 40000).astype(np.int32) + 20_000_001,
        field().astype(np.uint64) + np.uint64(2**40),
        1e6 + field() * 1e-4,
        1e8 + field() * 1e-6,
        field() * 1e36,
        field() * 1e-300,
        field() * 1e304,
        -field() / 3,
    ],
    ids=["int32", "uint64", "offset", "offset of 1e8", "1e36", "1e-300", "1e304", "thirds"],
)
@pytest.mark.parametrize("model", ["pchip", "cross-plane-ridge"])
def test_acquired_voxels_come_back_exactly(data: np.ndarray, model: str, tmp_path: Path) -> None:
    imputed = impute(scan_of(tmp_path, data), model=model, samples=int(model != "pchip"))

    exact = data.astype(np.float64)
    for image in (imputed.mean, *imputed.draws):
        values = np.asanyarray(image.dataobj)
        assert values.dtype == np.float64
        assert_array_equal(values[:, :, ::3], exact)
    assert np.asanyarray(imputed.observed.dataobj)[:, :, ::3].all()
    low, high = exact.min(), exact.max()
    mean = np.asanyarray(imputed.mean.dataobj)
    assert (mean >= low - (high - low)).all()
    assert (mean <= high + (high - low)).all()


def test_imputed_voxels_are_those_of_the_same_scan_in_other_units(tmp_path: Path) -> None:
    plain = impute(scan_of(tmp_path, field().astype(np.float32)), model="pchip")
    moved = impute(scan_of(tmp_path, 1e6 + field() * 1e-4), model="pchip")

    back = (np.asanyarray(moved.mean.dataobj) - 1e6) * 1e4
    assert_allclose(back, np.asanyarray(plain.mean.dataobj), atol=1e-3)


def test_slopes_do_not_need_double_precision_but_large_offsets_do(tmp_path: Path) -> None:
    numbers = field().astype(np.int16)

    assert read_scan(scan_of(tmp_path, numbers, scaled=(0.013, -3.0)), exact=True).exact is None
    lossy = read_scan(scan_of(tmp_path, numbers, scaled=(1e-4, 1e6)), exact=True)

    assert lossy.exact is not None
    steps = np.diff(np.unique(lossy.exact))
    assert steps.min() == pytest.approx(1e-4, rel=1e-3)


def test_what_is_exact_in_single_precision_is_written_in_it(tmp_path: Path) -> None:
    imputed = impute(scan_of(tmp_path, np.round(field())), model="linear")  # float64, whole

    assert imputed.mean.get_data_dtype() == np.float32


def test_integers_that_no_float_holds_are_refused(tmp_path: Path) -> None:
    data = (field() * 2**52).astype(np.int64) + 1

    with pytest.raises(VolumeError, match="integers up to"):
        impute(scan_of(tmp_path, data), model="linear")


def test_a_nan_beside_large_values_alone_is_missing(tmp_path: Path) -> None:
    data = field() * 1e36
    data[4, 4, 2] = np.nan

    imputed = impute(scan_of(tmp_path, data), model="linear")

    assert (np.asanyarray(imputed.observed.dataobj)[:, :, ::3] == np.isfinite(data)).all()
    assert np.isfinite(np.asanyarray(imputed.mean.dataobj)).all()


def test_who_needs_single_precision_refuses_larger_values_and_is_told_of_lost_contrast(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(VolumeError, match="too large for single precision"):
        read_scan(scan_of(tmp_path, field() * 1e36))
    read_scan(scan_of(tmp_path, 1e6 + field() * 1e-4))

    assert "single precision changes its values by up to 0.031 of 0.09" in caplog.text


@pytest.mark.parametrize("values", [field(), np.zeros((4, 4, 4)), np.full((4, 4, 4), 1e6)])
def test_ordinary_intensities_are_not_coded(values: np.ndarray) -> None:
    assert coding_of(values.astype(np.float32).ravel()) == PLAIN
