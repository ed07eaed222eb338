"""Affines as scanners and tools leave them: kept to the bit, or refused; never repaired."""

import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from typer.testing import CliRunner, Result

from mriimpute.cli import app
from mriimpute.geometry import rotation

TURNED = rotation((12.0, -7.0, 5.0))
STACK = np.diag([1.0, 1.0, 4.0])
SHEAR = np.array([[1.0, 0.12, 0.0], [0.0, 1.0, 0.07], [0.0, 0.0, 1.0]])
TILT = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 1.0]])  # of the gantry
ROUGH = 1e-3 * np.random.default_rng(0).normal(size=(3, 3))  # axes that are nearly perpendicular
SWAP = np.eye(3)[[2, 0, 1]]

AXES = {
    "straight": STACK,
    "oblique": TURNED @ STACK,
    "left-handed": TURNED @ STACK @ np.diag([-1.0, 1.0, 1.0]),
    "upside down": TURNED @ np.diag([-1.0, -1.0, -1.0]) @ STACK,
    "permuted": TURNED @ STACK @ SWAP,
    "45 degrees": rotation((45.0, 0.0, 45.0)) @ STACK,
    "sheared": TURNED @ STACK @ SHEAR,
    "gantry tilt": TURNED @ STACK @ TILT,
    "nearly orthonormal": (TURNED + ROUGH) @ STACK,
}
CODES = {"both forms": (1, 2), "sform only": (0, 4), "qform only": (3, 0)}


def save_scan(
    path: Path, axes: np.ndarray, *, qform: int, sform: int, apart_mm: float = 0.0
) -> Path:
    affine = nib.affines.from_matvec(axes, [10.3, -20.7, 30.1])
    moved = affine.copy()
    moved[:3, 3] += apart_mm
    shape = [5, 6, 5]
    shape[int(np.argmax(np.linalg.norm(axes, axis=0)))] = 4
    data = np.random.default_rng(1).integers(-900, 900, shape).astype(np.int16)
    image = nib.Nifti1Image(data, affine)
    image.header.set_slope_inter(0.37, 11.0)
    image.header.set_sform(affine, code=sform)
    image.header.set_qform(moved, code=qform, strip_shears=True)
    image.header.structarr["pixdim"][1:4] = np.linalg.norm(axes, axis=0)
    path.write_bytes(image.to_bytes())
    return path


def call(scan: Path, *more: str) -> Result:
    words = ["impute", str(scan), "--model", "linear", "--device", "cpu", *more]
    return CliRunner().invoke(app, words)


def assert_acquired_is_kept(scan: Path, factor: int = 4) -> None:
    """The mean holds the very voxels, at the very places in both forms, under the same codes."""
    before, after = nib.load(scan), nib.load(scan.parent / "x_imputed" / "x_desc-mean.nii")
    axis = int(np.argmax(np.asarray(before.shape) != np.asarray(after.shape)))
    acquired = tuple(slice(None, None, factor if n == axis else 1) for n in range(3))
    assert_array_equal(
        np.asarray(after.dataobj)[acquired], np.asarray(before.dataobj, dtype=np.float32)
    )
    scale = np.diag([*(factor if n == axis else 1.0 for n in range(3)), 1.0])
    for form in ("sform", "qform"):
        assert int(after.header[f"{form}_code"]) == int(before.header[f"{form}_code"])
        old, new = (getattr(image.header, f"get_{form}")() for image in (before, after))
        assert_allclose(new @ scale, old, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", AXES)
@pytest.mark.parametrize("forms", CODES)
def test_acquired_voxels_stay_where_and_what_they_are(
    tmp_path: Path, name: str, forms: str
) -> None:
    qform, sform = CODES[forms]
    scan = save_scan(tmp_path / "x.nii", AXES[name], qform=qform, sform=sform)

    result = call(scan)

    assert result.exit_code == 0, result.stderr
    assert_acquired_is_kept(scan)


@pytest.mark.parametrize(("form", "factor"), [("auto", 2), ("sform", 2), ("qform", 4)])
def test_the_user_says_which_form_is_right(tmp_path: Path, form: str, factor: int) -> None:
    """A converter took the thickness for the spacing in the sform."""
    scan = save_scan(tmp_path / "x.nii", STACK, qform=1, sform=1)
    image = nib.Nifti1Image.from_bytes(scan.read_bytes())
    image.header.set_sform(np.diag([1.0, 1.0, 2.0, 1.0]), code=1)
    scan.write_bytes(nib.Nifti1Image(image.dataobj, None, image.header).to_bytes())

    result = call(scan, "--xform", form)

    assert result.exit_code == 0, result.stderr
    used = "qform" if form == "qform" else "sform"
    assert f"the {used} is used" in result.stderr
    mean = nib.load(tmp_path / "x_imputed" / "x_desc-mean.nii")
    assert mean.shape[2] == factor * (nib.load(scan).shape[2] - 1) + 1


@pytest.mark.parametrize("name", ["oblique", "sheared", "left-handed"])
def test_forms_that_disagree_are_told_and_both_are_kept(tmp_path: Path, name: str) -> None:
    scan = save_scan(tmp_path / "x.nii", AXES[name], qform=1, sform=1, apart_mm=5.0)

    result = call(scan)

    assert result.exit_code == 0, result.stderr
    assert "sform and qform disagree by over 0.1 mm: the sform is used" in result.stderr
    assert_acquired_is_kept(scan)


def test_a_qform_that_is_no_rotation_is_told_where_the_sform_is_valid(tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "x.nii", AXES["oblique"], qform=1, sform=1)
    content = bytearray(scan.read_bytes())
    content[256:260] = struct.pack("<f", np.inf)
    scan.write_bytes(bytes(content))

    result = call(scan)

    assert result.exit_code == 0, result.stderr
    assert "the qform is no rotation: the sform is used" in result.stderr
    mean = tmp_path / "x_imputed" / "x_desc-mean.nii"
    assert np.isfinite(nib.load(mean).affine).all()


IMPOSSIBLE = {
    "two axes are one": np.array([[1.0, 1, 0], [0, 0, 0], [0, 0, 4]]),
    "an axis without length": np.diag([1.0, 0.0, 4.0]),
    "flat to rounding": np.array([[1.0, 1, 0], [0, 1e-7, 0], [0, 0, 4]]),
    "not a number": np.diag([1.0, np.nan, 4.0]),
    "infinite": np.diag([1.0, np.inf, 4.0]),
    "larger than any scanner": np.diag([1.0, 1.0, 1e30]),
    "smaller than an atom": np.diag([1e-20, 1e-20, 4.0]),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_axes_that_span_no_space_are_two_lines_and_no_file(tmp_path: Path, name: str) -> None:
    scan = save_scan(tmp_path / "x.nii", STACK, qform=0, sform=1)
    content = bytearray(scan.read_bytes())
    rows = np.column_stack([IMPOSSIBLE[name], [0.0, 0, 0]]).ravel()
    content[280:328] = struct.pack("<12f", *rows)
    scan.write_bytes(bytes(content))

    result = call(scan)

    assert result.exit_code == 1
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["error", "hint"]
    assert not list(tmp_path.rglob("*_desc-*"))
