"""NIfTI and MGZ in, NIfTI out.

A scan keeps its header, so what is written overlays on what was read: the array is permuted and
flipped back, and both forms, their codes and the units are copied, never recomputed.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from numpy.typing import NDArray

from mriimpute.errors import GeometryError, VolumeError
from mriimpute.geometry import grids_agree, is_invertible
from mriimpute.io._load import image_dtype, load, voxels
from mriimpute.io._save import save
from mriimpute.volume import Volume

__all__ = ["Form", "Scan", "read_scan", "write_image"]

log = logging.getLogger(__name__)

Form = Literal["auto", "sform", "qform"]


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """A volume and what is needed to write results into its own frame.

    Attributes:
        path: Where it was read.
        volume: Its voxels, axes towards right, anterior, superior.
        header: As stored, NIfTI-1 or 2 (that of an MGZ file is translated).
        orientation: nibabel's orientation array, from stored axes to those of `volume`.
        warnings: What the user should know about this scan.
        dtype: Of the stored numbers.
        slope: Intensity = slope * stored number + intercept.
        intercept: See `slope`.
    """

    path: Path
    volume: Volume
    header: Any
    orientation: NDArray[np.float64]
    warnings: tuple[str, ...] = ()
    dtype: str = "float32"
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """Voxels along the axes of the file."""
        i, j, k = (self.volume.shape[int(axis)] for axis in self.orientation[:, 0])
        return i, j, k

    @property
    def stored_affine(self) -> NDArray[np.float64]:
        """The affine of the file: from its voxel indices to mm right, anterior, superior."""
        forth = nib.orientations.inv_ornt_aff(self.orientation, self.stored_shape)
        affine: NDArray[np.float64] = self.volume.affine @ np.linalg.inv(forth)
        return affine

    @property
    def axis_codes(self) -> str:
        """Where the axes of the file point, such as "LPS"."""
        return "".join(nib.orientations.aff2axcodes(self.stored_affine))


def read_scan(path: Path, *, observed: Path | None = None, form: Form = "auto") -> Scan:
    """Returns the scan at `path`.

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
    notes += _form_notes(image)
    data = voxels(image, path)
    finite = np.isfinite(data)
    if not finite.any():
        raise VolumeError(f"{path}: every voxel is NaN", hint="check how the file was exported")

    missing = int((~finite).sum())
    if missing:
        notes.append(f"{missing} voxels are NaN or infinite and count as missing")
    if observed is not None:
        finite &= _chosen(observed, path, affine, data.shape)
        if not finite.any():
            raise VolumeError(
                f"{observed}: no voxel of {path} is observed", hint="mark acquired voxels with 1"
            )
    for note in notes:
        log.warning("%s: %s", path.name, note)

    orientation = nib.orientations.io_orientation(affine)
    volume = Volume(
        data=_reoriented(data, orientation),
        observed=_reoriented(finite, orientation),
        affine=affine @ nib.orientations.inv_ornt_aff(orientation, data.shape),
    )
    return Scan(
        path,
        volume,
        _nifti_header(image),
        orientation,
        tuple(notes),
        dtype=str(image_dtype(image)),
        slope=_or(getattr(image.dataobj, "slope", None), 1.0),
        intercept=_or(getattr(image.dataobj, "inter", None), 0.0),
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
    stored_axis = int(np.flatnonzero(like.orientation[:, 0] == axis)[0])
    inverse = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), like.orientation
    )
    array = np.asarray(nib.orientations.apply_orientation(data, inverse))

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


def _chosen(
    observed: Path, path: Path, affine: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    image, _ = load(observed)
    values = voxels(image, observed)
    # Tools write the same grid through quaternions or float32: equal only to some micrometres.
    close = values.shape == shape and grids_agree(
        np.asarray(image.affine, dtype=np.float64), affine, values.shape, tolerance_mm=0.02
    )
    if not close:
        raise GeometryError(
            f"{observed} and {path} lie on different grids",
            hint="give an observed image on the grid of the scan",
        )
    chosen: NDArray[np.bool_] = np.isfinite(values) & (values != 0)
    return chosen


def _affine(image: Any, path: Path, form: Form) -> NDArray[np.float64]:
    affine = np.asarray(image.affine, dtype=np.float64)
    if form != "auto" and isinstance(image.header, nib.Nifti1Header):
        affine = np.asarray(getattr(image.header, f"get_{form}")(), dtype=np.float64)
    if not is_invertible(affine):
        raise GeometryError(
            f"{path} has an affine that cannot be inverted", hint="repair the header"
        )
    return affine


def _form_notes(image: Any) -> Sequence[str]:
    header = image.header
    if not isinstance(header, nib.Nifti1Header):
        return []
    notes = []
    sform, qform = header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
    if sform is None and qform is None:
        notes.append("neither sform nor qform is set: which side is left is a guess")
    if sform is not None and qform is not None:
        i, j, k = (*map(int, image.shape[:3]), 1, 1)[:3]
        if not grids_agree(sform, qform, (i, j, k), tolerance_mm=0.1):
            notes.append("sform and qform disagree by over 0.1 mm: the sform is used")
    code = int(header["xyzt_units"]) % 8
    if code not in (0, 2):
        units = {1: "metres", 3: "micrometres"}.get(code, f"unknown units (code {code})")
        notes.append(f"the header gives lengths in {units}; they are taken as mm")
    return notes


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
    for name in ("aux_file", "db_name", "intent_name"):
        if name in copy.keys():  # noqa: SIM118 - iterating over a header gives its values
            copy[name] = b""
    copy["descrip"] = b"mriimpute"
    for name in ("cal_min", "cal_max", "slice_start", "slice_end", "slice_code", "slice_duration"):
        copy[name] = 0
    copy["intent_code"] = 0
    return copy


def _reoriented(
    array: Shaped[np.ndarray, "i j k"], orientation: NDArray[np.float64]
) -> Shaped[np.ndarray, "a b c"]:
    return np.ascontiguousarray(nib.orientations.apply_orientation(array, orientation))


def _or(value: Any, default: float) -> float:
    return default if value is None else float(value)
