"""Intensities as the 16-bit integers of a DICOM image, and the window that shows them.

Where the source has one slope for all slices, ours is that slope or a power-of-two fraction of
it, so acquired intensities are stored exactly and imputed ones to half a step; else the step is
1/65535 of the range.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Integer
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import DSfloat

from mriimpute.io.dicom.planes import Plane

__all__ = ["Integers", "as_integers", "decimal", "decimals", "set_window"]

MIN_LEVELS = 4096
"""Steps that the range of intensities is stored with at least: as many as a scanner delivers."""

MIN_SHOWN = 0.02
"""Fraction of the intensities that a window shows at least, and of the window that they fill."""

EXACT_BELOW = 256
"""Widths from which on viewers may round a window to integers, as the standard's LINEAR does."""

EXACT = "LINEAR_EXACT"

Image = Float32[np.ndarray, "i j k"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Integers:
    """Numbers in a file: intensity = slope * number + intercept."""

    numbers: Integer[np.ndarray, "i j k"]
    slope: float
    intercept: float


def as_integers(data: Image, planes: Sequence[Plane] = (), *, extent: float = 0.0) -> Integers:
    """Returns intensities in steps of at most 1/4096 of their range.

    Args:
        data: Finite.
        planes: Whose intensities shall be stored exactly, if they have one slope.
        extent: Range of what was acquired, which imputed intensities may leave; 0: that of `data`.
    """
    low, high = float(data.min()), float(data.max())
    extent = extent or high - low
    scales = {(abs(plane.slope), plane.intercept) for plane in planes}
    if len(scales) == 1:
        whole, intercept = scales.pop()
        for bits in range(12, -1, -1):
            slope = whole / 2**bits
            first, last = (round((value - intercept) / slope) for value in (low, high))
            enough = bits == 0 or extent / (2 * slope) < MIN_LEVELS
            dtype = np.uint16 if first >= 0 else np.int16
            fits = np.iinfo(dtype).min <= first and last <= np.iinfo(dtype).max
            if fits and enough:
                return _rounded(data, slope, intercept, dtype)
    step = (high - low) / 65535 if high > low else 1.0
    # The file holds 16 characters of it: what a reader will multiply with decides the numbers.
    return _rounded(data, float(decimal(step * (1 + 1e-9))), float(decimal(low)), np.uint16)


def set_window(image: Dataset, data: Image, *, keep: bool) -> None:
    """Sets a window where the source has none, or one that shows nothing of `data`.

    Args:
        image: Has the window of the source.
        data: Intensities of all images.
        keep: The source's window is one for this quantity.
    """
    low, high = np.percentile(data, [0.5, 99.5]).tolist()
    if keep and _shows(image, low, high):
        return
    width = high - low or 1.0
    image.WindowCenter, image.WindowWidth = decimal((low + high) / 2), decimal(width)
    image.pop("VOILUTFunction", None)
    if width < EXACT_BELOW:
        image.VOILUTFunction = EXACT


def decimal(value: float) -> DSfloat:
    """Returns a number as DICOM's decimal string, at most 16 characters."""
    return DSfloat(float(value), auto_format=True)


def decimals(values: Sequence[float] | Float64[np.ndarray, " n"]) -> list[DSfloat]:
    """Returns numbers as DICOM's decimal strings."""
    return [decimal(value) for value in values]


def _shows(image: Dataset, low: float, high: float) -> bool:
    """Tells whether an image's first window is one, and shows intensities from low to high."""
    centres, widths = (_numbers(image.get(name)) for name in ("WindowCenter", "WindowWidth"))
    narrowest = 0.0 if image.get("VOILUTFunction") == EXACT else 1.0  # PS3.3 C.11.2.1.2
    if not widths or len(centres) != len(widths):
        return False
    if not all(map(math.isfinite, [*centres, *widths])) or min(widths) < max(narrowest, 1e-30):
        return False
    left, right = centres[0] - widths[0] / 2, centres[0] + widths[0] / 2
    shown = min(right, high) - max(left, low)
    return shown >= MIN_SHOWN * (high - low) and shown >= MIN_SHOWN * widths[0]


def _numbers(value: Any) -> list[float]:
    if value is None or value == "":
        return []
    return [float(part) for part in (value if isinstance(value, MultiValue | list) else [value])]


def _rounded(data: Image, slope: float, intercept: float, dtype: Any) -> Integers:
    limits = np.iinfo(dtype)
    numbers = np.rint((data.astype(np.float64) - intercept) / slope)
    numbers = np.clip(numbers, limits.min, limits.max).astype(dtype)
    return Integers(numbers=numbers, slope=slope, intercept=intercept)
