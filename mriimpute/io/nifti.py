"""NIfTI and MGZ in, NIfTI out.

A scan keeps its header, so what is written overlays on what was read: the array is permuted and
flipped back, and both forms, their codes and the units are copied, never recomputed.
"""

import gzip
import logging
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from mriimpute.errors import GeometryError, VolumeError
from mriimpute.files import atomic
from mriimpute.geometry import grids_agree
from mriimpute.volume import Volume

__all__ = ["Form", "Scan", "read_scan", "write_image"]

log = logging.getLogger(__name__)

Form = Literal["auto", "sform", "qform"]

NIFTI_ENDINGS = (".nii", ".nii.gz", ".mgz", ".mgh")


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """A volume and what is needed to write results into its own frame.

    Attributes:
        path: Where it was read.
        volume: Its voxels, axes towards right, anterior, superior.
        header: As stored, NIfTI-1 (that of an MGZ file is translated).
        orientation: nibabel's orientation array, from stored axes to those of `volume`.
        warnings: What the user should know about this scan.
    """

    path: Path
    volume: Volume
    header: Any
    orientation: NDArray[np.float64]
    warnings: tuple[str, ...] = ()


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
    image = _load(path)
    data = _voxels(image, path)
    affine, notes = _affine(image, path, form)
    finite = np.isfinite(data)
    if not finite.any():
        raise VolumeError(f"{path}: every voxel is NaN", hint="check how the file was exported")

    if observed is not None:
        chosen = _load(observed)
        mask = _voxels(chosen, observed)
        if mask.shape != data.shape or not grids_agree(chosen.affine, affine, data.shape):
            raise GeometryError(
                f"{observed} and {path} lie on different grids",
                hint="give an observed image on the grid of the scan",
            )
        finite &= mask > 0
        if not finite.any():
            raise VolumeError(
                f"{observed}: no voxel of {path} is observed", hint="mark acquired voxels with 1"
            )
    elif missing := int((~finite).sum()):
        notes.append(f"{missing} voxels are NaN or infinite and count as missing")

    orientation = nib.orientations.io_orientation(affine)
    volume = Volume(
        data=_reoriented(data, orientation),
        observed=_reoriented(finite, orientation),
        affine=affine @ nib.orientations.inv_ornt_aff(orientation, data.shape),
    )
    for note in notes:
        log.warning("%s: %s", path.name, note)

    return Scan(path, volume, _nifti_header(image), orientation, tuple(notes))


def write_image(
    path: Path,
    data: Float32[np.ndarray, "i j k"] | UInt8[np.ndarray, "i j k"],
    *,
    like: Scan,
    refine: tuple[int, int] = (0, 1),
) -> None:
    """Writes `data` into the frame of a scan, atomically, with slope 1 and intercept 0.

    Args:
        path: Ends in .nii or .nii.gz.
        data: On the scan's canonical grid, or on that grid refined.
        like: The scan whose forms, codes, units and axis order the file gets.
        refine: Canonical axis and the number of voxels for each one along it.

    Raises:
        OutputError: If the file cannot be written.
    """
    axis, factor = refine
    stored_axis = int(np.flatnonzero(like.orientation[:, 0] == axis)[0])
    inverse = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), like.orientation
    )
    array = np.asarray(nib.orientations.apply_orientation(data, inverse))

    header = like.header.copy()
    header.set_data_dtype(data.dtype)
    header.set_data_shape(array.shape)
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, 0
    header["descrip"] = b"mriimpute"
    # Both forms are edited in place: recomputing them from an affine would round them.
    header["pixdim"][1 + stored_axis] /= factor
    for row in ("srow_x", "srow_y", "srow_z"):
        header[row][stored_axis] /= factor

    image = nib.Nifti1Image(array, None, header)
    with atomic(path) as temporary:
        image.to_filename(temporary)


def _load(path: Path) -> Any:
    if not path.exists():
        raise VolumeError(f"{path} does not exist", hint="check the path")
    if not path.name.endswith(NIFTI_ENDINGS):
        raise VolumeError(
            f"{path} is not a NIfTI or MGZ file", hint=f"pass a file ending in {NIFTI_ENDINGS}"
        )
    try:
        return nib.load(path)
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error) as error:
        raise VolumeError(
            f"{path} cannot be read as an image: {_first_line(error)}",
            hint="check that the file is complete and is NIfTI or MGZ",
        ) from error


def _voxels(image: Any, path: Path) -> Float32[np.ndarray, "i j k"]:
    dtype = image.get_data_dtype()
    if dtype.fields is not None or dtype.kind == "c":
        kind = "colour" if dtype.fields is not None else "complex"
        raise VolumeError(
            f"{path} holds {kind} voxels", hint="pass a scan with one real number per voxel"
        )
    shape = image.shape
    if len(shape) > 3 and set(shape[3:]) == {1}:
        shape = shape[:3]
    if len(shape) != 3:
        raise VolumeError(
            f"{path} has {len(shape)} axes {tuple(int(n) for n in shape)}, must have 3",
            hint="split a time series into volumes and pass one",
        )
    if min(shape) < 2:
        raise VolumeError(
            f"{path} has shape {tuple(int(n) for n in shape)}: a single slice",
            hint="pass a stack of at least two slices",
        )
    try:
        data = np.asarray(image.dataobj, dtype=np.float32)
    except (OSError, EOFError, ValueError, zlib.error, gzip.BadGzipFile) as error:
        raise VolumeError(
            f"{path} is damaged or cut short: {_first_line(error)}", hint="copy the file again"
        ) from error

    return data.reshape(shape)


def _affine(image: Any, path: Path, form: Form) -> tuple[NDArray[np.float64], list[str]]:
    header, notes = image.header, []
    affine = np.asarray(image.affine, dtype=np.float64)
    if isinstance(header, nib.Nifti1Header):
        # pixdim, not the affine: nibabel repairs a zero there without a word
        zooms = np.asarray(header["pixdim"][1:4], dtype=np.float64)
        if not np.isfinite(zooms).all() or (zooms == 0).any():
            raise GeometryError(
                f"{path} has voxel size {tuple(zooms.tolist())} mm",
                hint="repair the header, for example with nibabel or fslhd",
            )
        if form != "auto":
            affine = np.asarray(getattr(header, f"get_{form}")(), dtype=np.float64)
        elif header["sform_code"] > 0 and header["qform_code"] > 0:
            sform, qform = header.get_sform(), header.get_qform()
            if not grids_agree(sform, qform, image.shape[:3], tolerance_mm=0.1):
                notes.append("sform and qform disagree by over 0.1 mm: the sform is used")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise GeometryError(
            f"{path} has an affine that cannot be inverted", hint="repair the header"
        )
    return affine, notes


def _nifti_header(image: Any) -> Any:
    if isinstance(image.header, nib.Nifti1Header):
        header = image.header.copy()
        if header["sform_code"] == 0 and header["qform_code"] == 0:
            # No form: readers would centre the grid by its size, which refining changes.
            header.set_sform(image.affine, code=1)
        return header
    translated = nib.Nifti1Image(np.zeros(image.shape[:3], np.uint8), image.affine).header
    translated.set_sform(image.affine, code=1)
    translated.set_qform(image.affine, code=1)
    translated.set_xyzt_units("mm")
    return translated


def _reoriented(
    array: Shaped[np.ndarray, "i j k"], orientation: NDArray[np.float64]
) -> Shaped[np.ndarray, "a b c"]:
    return np.ascontiguousarray(nib.orientations.apply_orientation(array, orientation))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
