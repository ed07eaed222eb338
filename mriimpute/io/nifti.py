"""NIfTI and MGZ in and out.

A scan keeps its header, so what is written overlays on what was read: the array is permuted and
flipped back, and both forms, their codes and the units are copied, never recomputed. The
bytes of a file depend on nothing but the image: neither the clock nor a temporary name is there.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from jaxtyping import Float, Float64, Integer, UInt8
from numpy.typing import NDArray

from mriimpute.errors import GeometryError
from mriimpute.files import atomic
from mriimpute.geometry import Affine, grids_agree, is_invertible, refined
from mriimpute.io.forms import Form, affine_by, affine_in, set_forms
from mriimpute.io.image_file import (
    COMPRESSED,
    has_ending,
    open_image,
    read_voxels,
    stored_dtype,
)
from mriimpute.io.mgz import MGZ, as_mgz
from mriimpute.io.parallel_gzip import compress
from mriimpute.io.precision import as_single
from mriimpute.io.scan import AS_STORED, Scan, to_canonical
from mriimpute.stopwatch import stage
from mriimpute.volume import Volume

__all__ = [
    "Form",
    "Frame",
    "image_like",
    "read_nifti",
    "scan_of_image",
    "scan_of_volume",
    "write_grid",
    "write_image",
]

Frame = Literal["scanner", "aligned", "mni152"]
"""What world coordinates mean."""

FORM_CODES: dict[Frame, int] = {"scanner": 1, "aligned": 2, "mni152": 4}

GZIP_LEVEL = 3
"""float32 noise shrinks no more at higher levels."""


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
    image, warnings = open_image(path)
    return scan_of_image(image, path, observed=observed, form=form, warnings=warnings)


def scan_of_image(
    image: Any,
    path: Path,
    *,
    observed: Path | None = None,
    form: Form = "auto",
    warnings: Sequence[str] = (),
) -> Scan:
    """Returns the scan that a nibabel image holds.

    Args:
        image: Of one volume.
        path: Where it was read; for messages.
        observed: As in `read_nifti`.
        form: As in `read_nifti`.
        warnings: What is known to be odd about it.

    Raises:
        VolumeError: If it holds something else than one volume.
        GeometryError: If the affine is degenerate or `observed` lies elsewhere.
    """
    affine = _affine(image, path, form)
    warnings = [*warnings, *_form_warnings(image, form)]
    data = read_voxels(image, path)
    scan = Scan(
        path,
        Volume(as_single(data), np.isfinite(data), affine),
        _nifti_header(image),
        AS_STORED,
        tuple(warnings),
        dtype=str(stored_dtype(image)),
        slope=_or(getattr(image.dataobj, "slope", None), 1.0),
        intercept=_or(getattr(image.dataobj, "inter", None), 0.0),
        exact=data if data.dtype == np.float64 else None,
    )
    return to_canonical(scan, observed, form)


def scan_of_volume(volume: Volume, path: Path) -> Scan:
    """Returns a volume as a scan, in a frame of its own.

    Args:
        volume: Unobserved voxels may be NaN.
        path: Names it in messages.
    """
    image = nib.Nifti1Image(np.zeros(volume.shape, np.uint8), volume.affine)
    image.set_data_dtype(np.float32)
    stated_mm = volume.thickness_mm or None
    return Scan(path, volume, _nifti_header(image), AS_STORED, thickness_mm=stated_mm)


def write_image(
    path: Path,
    data: Float[np.ndarray, "i j k"] | UInt8[np.ndarray, "i j k"],
    *,
    like: Scan,
    refine: tuple[int, int] = (0, 1),
) -> None:
    """Writes `data` into the frame of a scan, atomically.

    Args:
        path: Its ending says which kind of file it becomes, see `ENDINGS`.
        data: As in `image_like`.
        like: As in `image_like`.
        refine: As in `image_like`.

    Raises:
        OutputError: If the file cannot be written.
    """
    image = image_like(data, like, refine=refine)
    read_by = refined(like.stored_affine, like.stored_axis(refine[0]), refine[1])
    i, j, k = image.shape
    is_best = grids_agree(read_by, image.affine, (i, j, k), tolerance_mm=0.02)
    _save(image, path, affine=None if is_best else read_by)


def image_like(
    data: Float[np.ndarray, "i j k"] | UInt8[np.ndarray, "i j k"],
    like: Scan,
    *,
    refine: tuple[int, int] = (0, 1),
) -> Any:
    """Returns `data` in the frame of a scan, a nibabel image with slope 1 and intercept 0.

    Free text and extensions of the scan's header, which may name a patient, are left out.

    Args:
        data: On the scan's canonical grid, or on that grid refined.
        like: The scan whose forms, codes, units and axis order the image gets.
        refine: Canonical axis and the number of voxels for each one along it.
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
    return kind(array, header.get_best_affine(), header)  # which it agrees with, and so stays


def write_grid(
    path: Path,
    data: Float[np.ndarray, "i j k"] | Integer[np.ndarray, "i j k"],
    affine: Float64[np.ndarray, "4 4"],
    *,
    frame: Frame,
) -> None:
    """Writes `data` on a grid of its own, atomically; where both forms are set they say the same.

    Args:
        path: Its ending says which kind of file it becomes, see `ENDINGS`.
        data: Stored as it is, without slope.
        affine: From voxel indices to mm right, anterior, superior.
        frame: What the coordinates mean.

    Raises:
        OutputError: If the file cannot be written.
    """
    image = nib.Nifti1Image(data, None)
    set_forms(image.header, affine, code=FORM_CODES[frame])
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"mriimpute"
    _save(image, path)


def _save(image: Any, path: Path, *, affine: Affine | None = None) -> None:
    """Writes a nibabel image, atomically; neither clock nor file name enters the gzip header.

    Args:
        image: NIfTI.
        path: Its ending says which kind of file it becomes.
        affine: Of a file that can hold only one; None: the best in the header.
    """
    if has_ending(path, MGZ):
        image = as_mgz(image, path, affine)
    content = image.to_bytes()
    if has_ending(path, COMPRESSED):
        with stage("gzip"):
            content = compress(content, GZIP_LEVEL)
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def _affine(image: Any, path: Path, form: Form) -> NDArray[np.float64]:
    affine = affine_by(form, image)
    if affine is None or not is_invertible(affine):
        raise GeometryError(
            f"{path} has an affine that cannot be inverted", hint="repair the header"
        )
    return affine


def _form_warnings(image: Any, form: Form) -> Sequence[str]:
    header, used = image.header, "qform" if form == "qform" else "sform"
    if not isinstance(header, nib.Nifti1Header):
        return []
    warnings = []
    sform = affine_in(header, "sform") if header["sform_code"] > 0 else None
    qform = affine_in(header, "qform") if header["qform_code"] > 0 else None
    if header["sform_code"] <= 0 and header["qform_code"] <= 0:
        warnings.append("neither sform nor qform is set: which side is left is a guess")
    elif header["qform_code"] > 0 and qform is None:
        warnings.append("the qform is no rotation: the sform is used")
    elif sform is not None and qform is not None:
        i, j, k = (*map(int, image.shape[:3]), 1, 1)[:3]
        if not grids_agree(sform, qform, (i, j, k), tolerance_mm=0.1):
            warnings.append(f"sform and qform disagree by over 0.1 mm: the {used} is used")
    code = int(header["xyzt_units"]) % 8
    if code not in (0, 2):
        units = {1: "metres", 3: "micrometres"}.get(code, f"unknown units (code {code})")
        warnings.append(f"the header gives lengths in {units}; they are taken as mm")
    return warnings


def _nifti_header(image: Any) -> Any:
    if isinstance(image.header, nib.Nifti1Header):
        return image.header.copy()
    translated = nib.Nifti1Image(np.zeros(image.shape[:3], np.uint8), image.affine).header
    set_forms(translated, np.asarray(image.affine, dtype=np.float64), code=1)
    translated.set_xyzt_units("mm")
    return translated


def _anonymous(header: Any) -> Any:
    copy = header.copy()
    copy.extensions.clear()
    for name, (dtype, _) in copy.template_dtype.fields.items():
        if dtype.kind == "S" and name not in ("magic", "regular"):  # all else that is text
            copy[name] = b""
    copy["descrip"] = b"mriimpute"
    for name in ("cal_min", "cal_max", "slice_start", "slice_end", "slice_code", "slice_duration"):
        copy[name] = 0
    copy["intent_code"] = 0
    return copy


def _or(value: Any, default: float) -> float:
    return default if value is None else float(value)
