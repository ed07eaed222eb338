"""What the acquired slices of a scan are like, and whether they fit their neighbours.

No truth and no method is asked. Nothing here changes under y -> a y + b with a > 0; mirrored scans
have the same measures, up to rounding.

Axes: s = slices, x and y = inside a slice, u and v = the same in coarser pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32
from numpy.typing import NDArray
from scipy import fft, ndimage, special

from mriimpute.cohort.foreground import foreground_level
from mriimpute.cohort.normalisation import normalisation
from mriimpute.cohort.stack import slices_of
from mriimpute.geometry import Stack, find_stack, plane_distance_mm
from mriimpute.volume import Volume

__all__ = ["LEVELS", "Consistency", "consistency"]

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9)
"""Of the foreground's intensities, each over its 99th percentile."""

NARROW = 0.01
"""Width of the fullest range of intensities, as a fraction of the 99th percentile."""

COARSE_MM = 1.5
"""Pixels are averaged to about this size before slices are compared."""

EDGE_MM = 2.0
"""Width of the edges that tell how far a slice lies from its neighbours."""

FARTHEST_MM = 15.0
"""Of such a shift, along either axis."""

LARGE = 0.3
"""Of the largest foreground of a slice: smaller ones, at the ends of a head, are not compared."""

FEWEST_VALUES = 500
"""Of the foreground, to say how intensities are distributed."""

MEDIAN_ERROR = 1.25 * 1.48
"""Standard error of the median of n Gaussian numbers, over their median deviation / sqrt(n)."""

FEWEST_COMPARED = 6
"""Slices: of fewer nobody can tell what happened to every second one from anatomy."""

FEWEST_PIXELS = 50
"""Of the foreground that a slice and its neighbours share, to be compared."""


@dataclass(frozen=True, slots=True)
class Consistency:
    """Measures of a slice stack; NaN where slices are too few, too small or all alike.

    Attributes:
        slices: That were acquired.
        spacing_mm: Between them; the widest gap.
        pixel_mm: The shorter and the longer side of a pixel.
        contrast: Whether not all acquired voxels are alike.
        levels: Intensities of the foreground at `LEVELS`, over their 99th percentile.
        concentration: Largest fraction of the foreground in a range of `NARROW`.
        smoothness: H in E[(y(p + h) - y(p))^2] ~ h^(2 H), from one to two pixels, inside slices:
            0 for white noise, 1 for a smooth ramp.
        neighbour_correlation: Of a slice with the mean of its neighbours; median over slices.
        slice_shift_mm: How far even slices lie from odd ones, inside slices.
        slice_shift_error_mm: Standard error of that, wider where slices are few.
        brightness_step: Log of the ratio of brightness of even and odd slices.
        brightness_step_error: Standard error of that, likewise.
    """

    slices: int
    spacing_mm: float
    pixel_mm: tuple[float, float]
    contrast: bool
    levels: tuple[float, ...] = (np.nan,) * len(LEVELS)
    concentration: float = np.nan
    smoothness: float = np.nan
    neighbour_correlation: float = np.nan
    slice_shift_mm: float = np.nan
    slice_shift_error_mm: float = np.nan
    brightness_step: float = np.nan
    brightness_step_error: float = np.nan


def consistency(volume: Volume) -> Consistency | None:
    """Returns the measures of a scan on its target grid; None where it is no stack of slices."""
    stack = find_stack(volume.observed)
    if stack is None:
        return None
    pixel = [mm for axis, mm in enumerate(volume.spacing_mm) if axis != stack.axis]
    step_mm = plane_distance_mm(volume.affine, stack.axis)
    spacing_mm = max(stack.gaps) * step_mm
    acquired = slices_of(volume, stack)
    has_contrast = bool(np.nanmin(acquired) < np.nanmax(acquired))
    count, sides = len(acquired), (min(pixel), max(pixel))
    if not has_contrast:
        return Consistency(count, spacing_mm, sides, contrast=False)

    shown = np.nan_to_num(normalisation(volume).apply(acquired))
    level = foreground_level(shown[:, ::2, ::2].ravel())
    levels, concentration = _distribution(shown[:, ::2, ::2], level)
    correlation, shift, step = _neighbours(shown, level, pixel, _even(stack))
    return Consistency(
        slices=count,
        spacing_mm=spacing_mm,
        pixel_mm=sides,
        contrast=True,
        levels=levels,
        concentration=concentration,
        smoothness=_smoothness(shown, level),
        neighbour_correlation=correlation,
        slice_shift_mm=shift[0],
        slice_shift_error_mm=shift[1],
        brightness_step=step[0],
        brightness_step_error=step[1],
    )


def _even(stack: Stack) -> Bool[np.ndarray, " s"]:
    """Tells which slices lie in the middle of two equal gaps."""
    gaps = np.array(stack.gaps)
    return np.concatenate([[False], gaps[1:] == gaps[:-1], [False]])


def _distribution(
    shown: Float32[np.ndarray, "s x y"], level: float
) -> tuple[tuple[float, ...], float]:
    values = np.sort(shown[shown > level])
    top = float(np.quantile(values, 0.99)) if len(values) >= FEWEST_VALUES else 0.0
    if not top > 0:
        return (np.nan,) * len(LEVELS), np.nan
    scaled = values / np.float32(top)
    inside = np.searchsorted(scaled, scaled + NARROW) - np.arange(len(scaled))
    levels = np.quantile(scaled, LEVELS)
    return tuple(float(x) for x in levels), float(inside.max() / len(scaled))


def _smoothness(shown: Float32[np.ndarray, "s x y"], level: float) -> float:
    squares, counts = np.zeros(2), np.zeros(2)
    head = shown > level
    for axis in (1, 2):
        for index, lag in enumerate((1, 2)):
            ahead, behind = _lagged(shown, lag, axis)
            both = np.logical_and(*_lagged(head, lag, axis))
            squares[index] += np.square(ahead - behind)[both].sum(dtype=np.float64)
            counts[index] += both.sum()
    near, far = squares / np.maximum(counts, 1)
    return float(0.5 * np.log2(far / near)) if near > 0 and far > 0 else np.nan


def _lagged(array: NDArray[Any], lag: int, axis: int) -> tuple[NDArray[Any], NDArray[Any]]:
    turned = np.moveaxis(array, axis, 0)
    return turned[lag:], turned[:-lag]


def _neighbours(
    shown: Float32[np.ndarray, "s x y"],
    level: float,
    pixel_mm: Sequence[float],
    even: Bool[np.ndarray, " s"],
) -> tuple[float, tuple[float, float], tuple[float, float]]:
    """Returns correlation, shift and step of brightness between neighbours, these with errors.

    What happens to every second slice alone, such as a patient who moved between two passes of
    an interleaved scan, has a sign that alternates; anatomy has not.
    """
    small, side_mm = _coarse(shown, pixel_mm)
    head = small > level
    area = head.mean(axis=(1, 2))
    large = area >= LARGE * area.max()
    correlations, shifts, steps = [], [], []
    for n in np.flatnonzero(even):
        inside = head[n - 1] & head[n] & head[n + 1]
        if not large[n - 1 : n + 2].all() or inside.sum() < FEWEST_PIXELS:
            continue
        here, around = small[n], 0.5 * (small[n - 1] + small[n + 1])
        sign = 1 if n % 2 else -1
        shifts.append([sign * mm for mm in _shift_mm(here, around, side_mm)])
        a, b = here[inside].astype(np.float64), around[inside].astype(np.float64)
        steps.append([sign * float(np.log(np.median(a) / np.median(b)))])
        # With the air: inside of a head alone, slices 9 mm apart may have no more in common than
        # noise has.
        correlations.append(float(np.corrcoef(here.ravel(), around.ravel())[0, 1]))
    correlation = float(np.median(correlations)) if correlations else np.nan
    return correlation, _alternating(shifts), _alternating(steps)


def _alternating(values: list[list[float]]) -> tuple[float, float]:
    """Returns what every second slice has of its own, and its standard error; NaN for few slices.

    In means of two neighbours, half of whose signs are turned, what changes evenly along the head
    is gone. As they share slices they count for half as many. The error is widened so that twice
    as much is exceeded as seldom as with many slices (Student's t).

    Args:
        values: Of each slice against its neighbours, signs turned for every second one.
    """
    count = len(values)
    if count < FEWEST_COMPARED:
        return np.nan, np.nan
    pairs = (np.array(values[1:]) + np.array(values[:-1])) / 2
    middle = np.median(pairs, axis=0)
    spread = np.median(np.linalg.norm(pairs - middle, axis=1))
    widened = float(special.stdtrit(count - 1, 0.975)) / 2
    error = MEDIAN_ERROR * float(spread) * np.sqrt(2 / count) * widened
    return float(np.linalg.norm(middle)), float(error)


def _coarse(
    shown: Float32[np.ndarray, "s x y"], pixel_mm: Sequence[float]
) -> tuple[Float32[np.ndarray, "s u v"], list[float]]:
    """Returns means over blocks of pixels, and the size of these."""
    fitting = (max(1, int(COARSE_MM / mm + 0.5)) for mm in pixel_mm)
    x, y = (min(side, size) for side, size in zip(fitting, shown.shape[1:], strict=True))
    height, width = shown.shape[1] // x, shown.shape[2] // y
    blocks = shown[:, : height * x, : width * y].reshape(len(shown), height, -1, width, y)
    return blocks.mean(axis=(2, 4)), [pixel_mm[0] * x, pixel_mm[1] * y]


def _shift_mm(
    image: Float32[np.ndarray, "u v"],
    other: Float32[np.ndarray, "u v"],
    side_mm: Sequence[float],
) -> tuple[float, float]:
    """Returns how far an image lies from another: where the edges of both correlate most."""
    reach = [int(FARTHEST_MM / mm) for mm in side_mm]
    shape = [fft.next_fast_len(n + r, real=True) for n, r in zip(image.shape, reach, strict=True)]
    sigma = [EDGE_MM / mm for mm in side_mm]
    first, second = (fft.rfft2(ndimage.gaussian_laplace(i, sigma), shape) for i in (image, other))
    around = np.roll(fft.irfft2(first * second.conj(), shape), reach, axis=(0, 1))
    around = around[: 2 * reach[0] + 1, : 2 * reach[1] + 1]
    x, y = np.unravel_index(int(around.argmax()), around.shape)
    ends = (_summit(around[:, y], int(x)), _summit(around[x], int(y)))
    first_mm, second_mm = ((e - r) * mm for e, r, mm in zip(ends, reach, side_mm, strict=True))
    return first_mm, second_mm


def _summit(line: NDArray[Any], place: int) -> float:
    """Returns where the parabola through the largest value and those beside it is highest."""
    if not 0 < place < len(line) - 1:
        return float(place)
    before, at, after = (float(value) for value in line[place - 1 : place + 2])
    bend = before - 2 * at + after
    return place + (0.5 * (before - after) / bend if bend < 0 else 0.0)
