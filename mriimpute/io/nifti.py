"""NIfTI and MGZ in, NIfTI out.

A scan keeps its header, so what is written overlays on what was read: the array is permuted and
flipped back, and both forms, their codes and the units are copied, never recomputed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray

from mriimpute.errors import GeometryError
from mriimpute.geometry import grids_agree, is_invertible
from mriimpute.io._save import save
from mriimpute.io.load import image_dtype, load, voxels
from mriimpute.io.scan import Scan, Stored, as_scan

__all__ = ["Form", "read_nifti", "write_image"]

Form = Literal["auto", "sform", "qform"]


def read_nifti(path: Path, *, observed: Path | None = None, form: Form = "auto") -> Scan:
    """Returns the scan in a NIfTI or MGZ file.

    Args:
        path: A NIfTI or MGZ file. Scaling slope and intercept are applied. A non-finite voxel
            counts as missing. A fourth axis of length one is dropped.
        observed: An image on the same grid, non-zero where the scan was acquired.
        form: Which NIfTI form gives the affine; "auto" takes the sform where its code is set.

    Raises:
        VolumeError: If the file cannot be read or holds something else than one volume.
        GeometryError: If the affine is degenerate or `observed` lies elsewhere.
    """
    image, notes = load(path)
    affine = _affine(image, path, form)
    notes += _form_notes(image, form)
    return as_scan(
        path,
        Stored(
            data=voxels(image, path),
            affine=affine,
            header=_nifti_header(image),
            notes=notes,
            dtype=str(image_dtype(image)),
            slope=_or(getattr(image.dataobj, "slope", None), 1.0),
            intercept=_or(getattr(image.dataobj, "inter", None), 0.0),
        ),
        observed,
    )


def write_image(
    path: Path,
    data: Float32[np.ndarray, "i j k"] | UInt8[np.ndarray, "i j k"],
    *,
    like: Scan,
    refine: tuple[int, int] = (0, 1),
) -> None:
    """Writes `data` into the frame of a scan, atomically, with slope 1 and intercept 0.

    Free text and extensions of the scan's header, which may name a patient, are left out.

    Args:
        path: Ends in .nii or .nii.gz.
        data: On the scan's canonical grid, or on that grid refined.
        like: The scan whose forms, codes, units and axis order the file gets.
        refine: Canonical axis and the number of voxels for each one along it.

    Raises:
        OutputError: If the file cannot be written.
    """
    axis, factor = refine
    expected = list(like.volume.shape)
    expected[axis] = factor * (expected[axis] - 1) + 1
    if list(data.shape) != expected:
        raise ValueError(f"data must have shape {tuple(expected)}, got {data.shape}")
    stored_axis = like.stored_axis(axis)
    array = like.as_stored(data)

    header = _anonymous(like.header)
    header.set_data_dtype(data.dtype)
    header.set_data_shape(array.shape)
    header.set_slope_inter(1, 0)
    # Both forms are edited in place: recomputing them from an affine would round them.
    header["pixdim"][1 + stored_axis] /= factor
    for row in ("srow_x", "srow_y", "srow_z"):
        header[row][stored_axis] /= factor

    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    save(kind(array, None, header), path)


def _affine(image: Any, path: Path, form: Form) -> NDArray[np.float64]:
    affine = np.asarray(image.affine, dtype=np.float64)
    if form != "auto" and isinstance(image.header, nib.Nifti1Header):
        given = _form(image.header, form)
        affine = np.zeros((4, 4)) if given is None else given
    if not is_invertible(affine):
        raise GeometryError(
            f"{path} has an affine that cannot be inverted", hint="repair the header"
        )
    return affine


def _form_notes(image: Any, form: Form) -> Sequence[str]:
    header, used = image.header, "qform" if form == "qform" else "sform"
    if not isinstance(header, nib.Nifti1Header):
        return []
    notes = []
    sform = _form(header, "sform") if header["sform_code"] > 0 else None
    qform = _form(header, "qform") if header["qform_code"] > 0 else None
    if header["sform_code"] <= 0 and header["qform_code"] <= 0:
        notes.append("neither sform nor qform is set: which side is left is a guess")
    elif header["qform_code"] > 0 and qform is None:
        notes.append("the qform is no rotation: the sform is used")
    elif sform is not None and qform is not None:
        i, j, k = (*map(int, image.shape[:3]), 1, 1)[:3]
        if not grids_agree(sform, qform, (i, j, k), tolerance_mm=0.1):
            notes.append(f"sform and qform disagree by over 0.1 mm: the {used} is used")
    code = int(header["xyzt_units"]) % 8
    if code not in (0, 2):
        units = {1: "metres", 3: "micrometres"}.get(code, f"unknown units (code {code})")
        notes.append(f"the header gives lengths in {units}; they are taken as mm")
    return notes


def _form(header: Any, form: Literal["sform", "qform"]) -> NDArray[np.float64] | None:
    """Returns the affine of a form, whether its code is set or not; None where it has none."""
    try:
        return np.asarray(getattr(header, f"get_{form}")(), dtype=np.float64)
    except ValueError:  # the quaternion is longer than one, or infinite
        return None


def _nifti_header(image: Any) -> Any:
    if isinstance(image.header, nib.Nifti1Header):
        return image.header.copy()
    translated = nib.Nifti1Image(np.zeros(image.shape[:3], np.uint8), image.affine).header
    translated.set_sform(image.affine, code=1)
    translated.set_qform(image.affine, code=1)
    translated.set_xyzt_units("mm")
    return translated


def _anonymous(header: Any) -> Any:
    copy = header.copy()
    copy.extensions.clear()
    for name, (kind, _) in copy.template_dtype.fields.items():
        if kind.kind == "S" and name not in ("magic", "regular"):  # all else that is text
            copy[name] = b""
    copy["descrip"] = b"mriimpute"
    for name in ("cal_min", "cal_max", "slice_start", "slice_end", "slice_code", "slice_duration"):
        copy[name] = 0
    copy["intent_code"] = 0
    return copy


def _or(value: Any, default: float) -> float:
    return default if value is None else float(value)
