"""Tests for mriimpute.io.forms."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its documentation calls it so
from scipy.spatial.transform import Rotation

from mriimpute.errors import GeometryError
from mriimpute.geometry import corner_distance_mm, is_invertible
from mriimpute.io import read_scan
from mriimpute.io.forms import is_refused_by_itk, set_forms
from mriimpute.io.nifti import read_nifti, write_grid, write_image

SHAPE = (320, 320, 30)
HALF_TURN = np.diag([-1.0, -1.0, 1.0])


def affine(*angles_deg: float) -> np.ndarray:
    """Half a turn about the stack, as every axial DICOM series has it, and a little more."""
    made = np.eye(4)
    turn = Rotation.from_euler("xyz", angles_deg or (0, 0, 0), degrees=True).as_matrix()
    made[:3, :3] = HALF_TURN @ turn * (0.7, 0.7, 5.0)
    made[:3, 3] = (112.3, 98.4, -61.7)
    return made


def header_of(matrix: np.ndarray, shape: tuple[int, int, int] = SHAPE) -> nib.Nifti1Header:
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    set_forms(header, matrix, code=1)
    return header


def seen_by_itk(header: nib.Nifti1Header, path: Path) -> np.ndarray:
    small = header.copy()
    small.set_data_shape((2, 2, 2))
    small.set_data_dtype(np.uint8)
    nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), None, small).to_filename(path)
    image = sitk.ReadImage(str(path))
    found = np.eye(4)
    found[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    found[:3, 3] = image.GetOrigin()
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ found


@pytest.mark.parametrize("turn_deg", [0.0, 1e-4, 3e-3, 0.02, 0.05, 0.069, 0.2, 3.0])
def test_a_qform_that_is_set_says_what_the_sform_says_to_every_reader(
    tmp_path: Path, turn_deg: float
) -> None:
    matrix = affine(12.0, 0.0, turn_deg)

    header = header_of(matrix)

    assert header["sform_code"] == 1
    assert header["qform_code"] == (0 if 3e-3 <= turn_deg < 0.2 else 1)
    if header["qform_code"]:
        assert corner_distance_mm(np.asarray(header.get_qform(), float), matrix, SHAPE) < 0.01
        header["sform_code"] = 0
    assert corner_distance_mm(seen_by_itk(header, tmp_path / "x.nii"), matrix, SHAPE) < 0.01


def test_a_sheared_affine_has_no_qform_and_itk_is_known_to_refuse_it(tmp_path: Path) -> None:
    for skew_deg, refused in ((0.003, False), (0.006, True), (5.0, True)):
        sheared = affine()
        sheared[1, 2] = 5 * np.tan(np.radians(skew_deg))

        header = header_of(sheared)

        header["qform_code"] = 0
        assert is_refused_by_itk(header) == refused
        if refused:
            with pytest.raises(RuntimeError, match="orthonormal"):
                seen_by_itk(header, tmp_path / "x.nii")
        else:
            seen_by_itk(header, tmp_path / "x.nii")


@pytest.mark.parametrize("ending", ["grid", "mgz"])
def test_every_header_that_is_made_has_forms_that_agree(tmp_path: Path, ending: str) -> None:
    matrix = affine(12.0, 0.0, 0.05)
    data = np.ones((64, 64, 5), np.float32)
    if ending == "mgz":
        nib.MGHImage(data, matrix).to_filename(tmp_path / "x.mgz")
        scan = read_scan(tmp_path / "x.mgz")
        write_image(tmp_path / "x.nii", scan.volume.data, like=scan)
    else:
        write_grid(tmp_path / "x.nii", data, matrix, frame="scanner")

    written = nib.load(tmp_path / "x.nii").header

    assert (written["sform_code"], written["qform_code"]) == (1, 0)
    np.testing.assert_allclose(written.get_sform(), matrix, atol=1e-4)


def scan_with_sform(tmp_path: Path, sform: np.ndarray, *, qform_code: int = 1) -> Path:
    image = nib.Nifti1Image(np.arange(64, dtype=np.int16).reshape(4, 4, 4), None)
    image.header.set_qform(affine(3.0, 2.0, 1.0), code=qform_code)
    for row, values in zip(("srow_x", "srow_y", "srow_z"), sform, strict=True):
        image.header[row] = values
    image.header["sform_code"] = 1
    (tmp_path / "x.nii").write_bytes(nib.Nifti1Image(image.dataobj, None, image.header).to_bytes())
    return tmp_path / "x.nii"


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_an_sform_without_inverse_gives_way_to_a_good_qform_and_is_not_passed_on(
    tmp_path: Path, fill: float
) -> None:
    path = scan_with_sform(tmp_path, np.full((3, 4), fill))

    scan = read_scan(path, observed=path)

    assert "the sform is set but has no inverse: the qform is used" in scan.warnings
    np.testing.assert_allclose(scan.stored_affine, affine(3.0, 2.0, 1.0), atol=1e-4)
    write_image(tmp_path / "out.nii", scan.volume.data, like=scan)
    after = nib.load(tmp_path / "out.nii")
    assert is_invertible(np.asarray(after.affine, float))
    assert after.header["sform_code"] == 0
    with pytest.raises(GeometryError, match="cannot be inverted"):
        read_nifti(path, form="sform")


@pytest.mark.parametrize(("fill", "qform_code"), [(0.0, 0), (np.nan, 1)])
def test_an_sform_without_inverse_is_refused_where_no_other_is_set_or_it_is_damaged(
    tmp_path: Path, fill: float, qform_code: int
) -> None:
    path = scan_with_sform(tmp_path, np.full((3, 4), fill), qform_code=qform_code)

    with pytest.raises(GeometryError, match="cannot be inverted"):
        read_scan(path)


@pytest.mark.parametrize(("qform_code", "told"), [(0, True), (1, False)])
def test_a_scan_that_itk_would_refuse_is_told_with_what_to_do(
    tmp_path: Path, qform_code: int, told: bool
) -> None:
    sheared = affine()
    sheared[1, 2] = 0.2
    image = nib.Nifti1Image(np.arange(64, dtype=np.int16).reshape(4, 4, 4), None)
    image.header.set_sform(sheared, code=1)
    image.header.set_qform(sheared, code=qform_code)
    nib.Nifti1Image(image.dataobj, None, image.header).to_filename(tmp_path / "x.nii")

    scan = read_scan(tmp_path / "x.nii")

    assert any("ITK" in note and "straight grid" in note for note in scan.warnings) == told
