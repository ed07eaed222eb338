"""The intensities of a DICOM series: what its files store, decoded and rescaled."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pydicom
from jaxtyping import Float
from numpy.typing import NDArray
from pydicom.pixels.utils import pixel_array
from pydicom.uid import RLELossless

from mriimpute.errors import VolumeError
from mriimpute.io.container import Container, open_container
from mriimpute.io.dicom.decode import decode_frames
from mriimpute.io.dicom.files import quiet, read_attributes
from mriimpute.io.dicom.planes import Series
from mriimpute.io.dicom.stack import SliceStack
from mriimpute.io.precision import in_single, may_exceed_single

__all__ = ["intensities"]

MAX_VOXELS = 1 << 31

PIXELS = [
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "NumberOfFrames",
    "PixelData",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
]


def intensities(
    stack: SliceStack, series: Series, name: str
) -> tuple[Float[np.ndarray, "i j k"], str]:
    """Returns the intensities, NaN in slices that are not there, and how they were stored.

    They are in double precision where single precision could not tell stored numbers apart.
    """
    rows, columns = stack.planes[0].shape
    if rows * columns * (stack.slots[-1] + 1) > MAX_VOXELS or min(rows, columns) < 2:
        raise VolumeError(
            f"{name}: {len(stack.planes)} slices of {rows} x {columns} voxels are no scan",
            hint="export the series again",
        )
    data: NDArray[np.floating[Any]] = np.empty((0, 0, 0), np.float32)
    dtypes = set()
    wanted = defaultdict(list)
    for slot, plane in zip(stack.slots, stack.planes, strict=True):
        wanted[plane.file].append((slot, plane))
    with open_container(series.container) as container:
        for file, frames in _frames(container, list(wanted), name):
            if not data.size:  # not sooner: a damaged header may announce anything
                precision = _precision(stack, frames[0].dtype)
                data = np.full((columns, rows, stack.slots[-1] + 1), np.nan, precision)
            for slot, plane in wanted[file]:
                if plane.frame >= len(frames) or frames[plane.frame].shape != plane.shape:
                    raise _cut_short(name, file)
                image = frames[plane.frame]
                dtypes.add(str(image.dtype))
                data[:, :, slot] = image.T * np.float64(plane.slope) + plane.intercept
    if not np.isfinite(data[:, :, list(stack.slots)]).all():
        raise VolumeError(f"{name}: its rescaled intensities are not finite", hint="export again")
    if data.dtype == np.float64:
        data = in_single(data, min(abs(plane.slope) for plane in stack.planes))
    return data, dtypes.pop() if len(dtypes) == 1 else "int16"


def _precision(stack: SliceStack, dtype: np.dtype[Any]) -> type[np.floating[Any]]:
    """Returns the precision that may be needed, to judge by the headers."""
    exceeds = (may_exceed_single(dtype, p.slope, p.intercept) for p in stack.planes)
    return np.float64 if any(exceeds) else np.float32


def _frames(
    container: Container, files: Sequence[str], name: str
) -> Iterator[tuple[str, NDArray[np.integer]]]:
    """Yields the stored numbers in each file, by frame, row and column; not in order."""
    compressed = []
    for file in files:
        try:
            pixels = read_attributes(container.open(file), PIXELS, pixels=True)
            syntax = _syntax(pixels)
            plain = not syntax.is_compressed or syntax == RLELossless
        except VolumeError:
            raise
        except Exception as error:  # damaged data raise anything, here and below
            raise _cut_short(name, file) from error
        if "PixelData" not in pixels:
            raise VolumeError(f"{name}: {file} has no pixel data", hint="export the series again")
        if not plain:
            compressed.append(file)
            continue
        try:
            with quiet():
                numbers = pixel_array(pixels, raw=True)
        except Exception as error:
            raise _cut_short(name, file) from error
        yield file, numbers[None] if numbers.ndim == 2 else numbers
    yield from _decompressed(container, compressed, name)


def _decompressed(
    container: Container, files: Sequence[str], name: str
) -> Iterator[tuple[str, NDArray[np.integer]]]:
    if not files:
        return
    contents = []
    for file in files:
        with container.open(file) as opened_file:
            contents.append(opened_file.read())
    for file, numbers in zip(files, decode_frames(contents), strict=True):
        if numbers is None:
            syntax = _syntax(read_attributes(container.open(file), ["Rows"])).name
            raise VolumeError(
                f"{name}: {file} cannot be decompressed ({syntax})",
                hint="copy it again, or convert the series to an uncompressed transfer syntax",
            )
        yield file, numbers


def _syntax(pixels: Any) -> Any:
    """Returns the transfer syntax; a file without a preamble has none, but an encoding."""
    if "TransferSyntaxUID" not in pixels.file_meta:
        implicit, little = pixels.original_encoding
        pixels.file_meta.TransferSyntaxUID = (
            pydicom.uid.ImplicitVRLittleEndian
            if implicit
            else pydicom.uid.ExplicitVRLittleEndian
            if little
            else pydicom.uid.ExplicitVRBigEndian
        )
    return pixels.file_meta.TransferSyntaxUID


def _cut_short(name: str, file: str) -> VolumeError:
    return VolumeError(
        f"{name}: the image in {file} is damaged or cut short", hint="copy the series again"
    )
