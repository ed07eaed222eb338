"""NIfTI and MGZ files as they are stored: opened and read, or refused with a reason."""

import gzip
import logging
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from jaxtyping import Float
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.freesurfer.mghformat import MGHError
from nibabel.spatialimages import HeaderDataError, SpatialImage

from mriimpute.errors import GeometryError, VolumeError
from mriimpute.io.forms import has_only_qform
from mriimpute.io.precision import in_single, may_exceed_single, require_integers
from mriimpute.memory import available_bytes, require_memory
from mriimpute.stopwatch import stage

__all__ = [
    "COMPRESSED",
    "ENDINGS",
    "ending_of",
    "has_ending",
    "listed_endings",
    "open_image",
    "read_voxels",
    "stored_dtype",
    "without_ending",
]

ENDINGS = (".nii.gz", ".nii", ".mgz", ".mgh")

COMPRESSED = (".gz", ".mgz")

# Damaged data raise anything, but a lack of memory is no damage.
UNREADABLE = (
    ImageFileError,
    HeaderDataError,
    MGHError,
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)

BYTES_WHILE_READ = 8
"""For each voxel, beside its stored number: its intensity, and a copy while it is scaled."""

# gzip cannot shrink more than 1032-fold: a file claiming more is damaged, not large.
MAX_RATIO = 1100


def has_ending(path: Path, endings: tuple[str, ...] = ENDINGS) -> bool:
    """Tells whether a file name ends in one of `endings`, in small or in capital letters."""
    return path.name.lower().endswith(endings)


def without_ending(name: str) -> str:
    """Returns a file name without its image ending, or as it is where it has none."""
    ending = next((end for end in ENDINGS if name.lower().endswith(end)), "")
    return name[: len(name) - len(ending)]


def ending_of(path: Path) -> str:
    """Returns the ending of an image in small letters; `.nii.gz` for what is no image file.

    Example:
        >>> ending_of(Path("SCAN.NII")), ending_of(Path("series-001"))
        ('.nii', '.nii.gz')
    """
    return next((end for end in ENDINGS if has_ending(path, (end,))), ENDINGS[0])


def listed_endings() -> str:
    """Returns the endings of images, to read."""
    return ", ".join(ENDINGS[:-1]) + f" or {ENDINGS[-1]}"


def open_image(path: Path) -> tuple[Any, list[str]]:
    """Returns nibabel's image, its voxels still on disk, and what nibabel repaired in it.

    Raises:
        VolumeError: If the file is missing or is no image.
        GeometryError: If it is a NIfTI with a voxel size of zero.
    """
    if not path.exists():
        if path.is_symlink():
            raise VolumeError(
                f"{path} is a link to a file that is not there",
                hint="fetch the file, as with `datalad get`, or remove the link",
            )
        raise VolumeError(f"{path} does not exist", hint="check the path")
    if path.is_dir():
        raise VolumeError(f"{path} is a folder", hint="pass a file")
    if not has_ending(path):
        raise VolumeError(
            f"{path} is not a NIfTI or MGZ file", hint=f"pass a file ending in {listed_endings()}"
        )
    try:
        with _collected_warnings() as repairs:
            image: Any = nib.load(path)
        raw = _raw_header(image, path)
    except PermissionError as error:
        raise VolumeError(
            f"{path} may not be read: {error.strerror}", hint="ask for read permission"
        ) from error
    except UNREADABLE as error:
        raise VolumeError(
            f"{path} cannot be read as an image: {_reason(error)}",
            hint="check that the file is complete and is NIfTI or MGZ",
        ) from error

    has_voxels = isinstance(image, SpatialImage)
    if not has_voxels:
        kind = type(image).__name__.removesuffix("Image")
        raise VolumeError(
            f"{path} holds no voxels but other data ({kind})",
            hint="pass the volume that it was made of; values on surfaces are not imputed",
        )
    problems = _header_problems(raw, path)
    if raw is not None and has_only_qform(image.header):
        image.set_sform(None)
        problems.append("the sform is set but has no inverse: the qform is used")
    return image, repairs + problems


def read_voxels(image: Any, path: Path) -> Float[np.ndarray, "i j k"]:
    """Returns the intensities, slope and intercept applied.

    They are in single precision, or in double precision where single precision would change one.

    Raises:
        VolumeError: If the file holds something else than one volume of real numbers, or is
            damaged.
        ResourceError: If it is larger than memory.
    """
    dtype = stored_dtype(image)
    if dtype.fields is not None or dtype.kind == "c":
        kind = "colour" if dtype.fields is not None else "complex"
        raise VolumeError(
            f"{path} holds {kind} voxels", hint="pass a scan with one real number per voxel"
        )
    shape = tuple(int(n) for n in image.shape)
    if set(shape[3:]) == {1}:
        shape = shape[:3]
    if len(shape) > 3:
        raise VolumeError(
            f"{path} holds {math.prod(shape[3:])} volumes, of {_by(shape)} voxels in all",
            hint="pass one volume; split a time series first",
        )
    if len(shape) < 3 or min(shape) < 2:
        raise VolumeError(
            f"{path} holds {_by(shape)} voxels: {_lacking(shape)}",
            hint="pass a stack of at least two slices",
        )
    count = int(np.prod(shape, dtype=object))
    if isinstance(image.dataobj, ArrayProxy) and count * dtype.itemsize > _capacity(path):
        raise _damaged(path, "its header announces more voxels than it can hold")
    # A small compressed file may hold a thousand times its size.
    require_memory(
        count * (dtype.itemsize + BYTES_WHILE_READ), available_bytes("cpu"), what=str(path)
    )
    try:
        with stage("gunzip" if has_ending(path, COMPRESSED) else "read"):
            data = _intensities(image.dataobj, path)
    except UNREADABLE as error:
        raise _damaged(path, _reason(error)) from error

    return data.reshape(shape)


def _lacking(shape: tuple[int, ...]) -> str:
    """Returns what an image of such a shape is instead of a stack of slices."""
    if min(shape, default=0) < 1:
        return "no voxels"
    thick = sum(size > 1 for size in shape)
    return {2: "a single slice", 1: "a line, or values of a surface"}.get(thick, "a single voxel")


def _by(numbers: Sequence[int] | Sequence[float]) -> str:
    return " x ".join(f"{number:g}" for number in numbers)


def stored_dtype(image: Any) -> np.dtype[Any]:
    """Returns the type of the stored numbers."""
    dtype: np.dtype[Any] = image.get_data_dtype()
    return dtype


def _raw_header(image: Any, path: Path) -> Any:
    """Returns the NIfTI header before nibabel repairs it, or None for another format."""
    if not isinstance(image.header, nib.Nifti1Header):
        return None
    with nib.openers.ImageOpener(str(path)) as file:
        return type(image.header).from_fileobj(file, check=False)


def _header_problems(raw: Any, path: Path) -> list[str]:
    if raw is None:
        return []
    sizes = np.asarray(raw["pixdim"][1:4], dtype=np.float64)
    if not np.isfinite(sizes).all() or (sizes == 0).any():
        raise GeometryError(
            f"{path} has voxel size {_by(sizes.tolist())} mm",
            hint="repair pixdim in the header, or export the scan again",
        )
    if np.isinf(raw["scl_slope"]):  # NaN means unset
        return [f"the scaling slope is {float(raw['scl_slope'])}: stored numbers are taken as is"]
    return []


@contextmanager
def _collected_warnings() -> Iterator[list[str]]:
    """Collects what nibabel would print about a header, for the user's list of warnings."""
    logger = logging.getLogger("nibabel.global")
    messages: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(f"header: {record.getMessage()}")

    handlers, propagate = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [Collector(logging.WARNING)], False
    try:
        yield messages
    finally:
        logger.handlers, logger.propagate = handlers, propagate


def _capacity(path: Path) -> int:
    return path.stat().st_size * (MAX_RATIO if has_ending(path, COMPRESSED) else 1)


def _intensities(stored: Any, path: Path) -> Float[np.ndarray, "..."]:
    # An image that was made in memory may have the name of the file that it was saved in.
    if not (isinstance(stored, ArrayProxy) and has_ending(path, COMPRESSED)):
        return _scaled(stored, path)
    with gzip.open(path) as file:
        unpacked = ArrayProxy(
            file, (stored.shape, stored.dtype, stored.offset, stored.slope, stored.inter)
        )
        data = _scaled(unpacked, path)
        # gzip's checksum stands behind the last voxel, where nibabel stops.
        while file.read(1 << 20):
            pass
    return data


def _scaled(stored: Any, path: Path) -> Float[np.ndarray, "..."]:
    slope, intercept = (getattr(stored, name, None) for name in ("slope", "inter"))
    slope = 1.0 if slope is None else float(slope)
    intercept = 0.0 if intercept is None else float(intercept)
    if stored.dtype.kind not in "iuf" or not may_exceed_single(stored.dtype, slope, intercept):
        return np.asarray(stored, dtype=np.float32)
    is_scaled = (slope, intercept) != (1.0, 0.0)
    if is_scaled:
        values = np.asarray(stored, dtype=np.float64)
        step = abs(slope) if stored.dtype.kind in "iu" else 1e-6 * float(np.ptp(values))
        return in_single(values, step)
    numbers = np.asarray(stored)
    require_integers(numbers, path)
    return in_single(numbers.astype(np.float64), None)


def _damaged(path: Path, reason: str) -> VolumeError:
    return VolumeError(f"{path} is damaged or cut short: {reason}", hint="copy the file again")


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
