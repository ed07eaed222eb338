"""Slice stacks completed by a model of three axes, whose std is measured on the scan itself.

Lines hidden inside slices say how large errors of linear interpolation are, at each offset of a
gap and as the slices on both sides have it (`mriimpute.methods.patches.activity`). A block looks
as imputation meets it where every second slice is left out, hence at twice the gap and in the
middle of it alone. How much smaller, or larger, the model's errors are there than those of
interpolation is taken for the ratio at the gap itself.

Draws are made in `mriimpute.methods.patches.families`.

Axes: x and y = inside a slice, p = along the slice axis, b = images, n = lines, m = gaps of one
size, t = offsets inside a gap, w = pixels of a line.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from mriimpute.cohort.slices import SliceScan
from mriimpute.geometry import Stack
from mriimpute.methods.lines import linear_lines
from mriimpute.methods.patches.activity import Measured, measure
from mriimpute.methods.patches.families import LEAST, Completed, Family, correlations_of
from mriimpute.methods.patches.work import PatchWork

__all__ = ["completed"]

Image = Float32[np.ndarray, "x y p"]
Lines = Float32[np.ndarray, "b n w"]
Hidden = Float32[np.ndarray, "b t m w"]

FEWEST_ERRORS = 500
"""Pixels of the head, at each offset and on left-out slices."""

FEWEST_SLICES = 5
"""Of a stack, to leave out every second one."""


def completed(
    y: Image,
    filled: Image,
    stack: Stack,
    scan: SliceScan,
    worker: Callable[[Image], PatchWork],
) -> Completed:
    """Returns the mean and the variance of all voxels.

    Args:
        y: Normalised, slices across the last axis, NaN where missing.
        filled: The same, interpolated.
        stack: Where slices lie on that axis.
        scan: The same slices.
        worker: Completes a grid.
    """
    family = Family.of(worker(y))
    variance, measured = family.total.copy(), {}
    for gap in sorted({gap for gap in stack.gaps if gap > 1}):
        known, wide = (_interpolation(scan, size) for size in (gap, 2 * gap))
        ratio = _left_out(y, stack, gap, scan.foreground, worker)
        if known is None or wide is None or ratio is None:
            continue
        measured[gap] = known.calibration
        starts = _starts(stack, gap)
        places = np.add.outer(starts, np.arange(1, gap))
        before, after = (filled[..., starts + n] for n in (0, gap))
        own = np.ones((*before.shape, gap - 1), np.float32)
        both = sum(known.variance(own, before, after, axis) for axis in (0, 1))
        variance[..., places] = np.maximum(0.5 * ratio**2 * both, np.float32(LEAST))
    share = (np.ones_like(variance),)
    return Completed((family,), share, family.mean, variance, correlations_of(measured))


def _starts(stack: Stack, gap: int) -> NDArray[np.int64]:
    """Returns where all gaps of one size begin."""
    pairs = zip(stack.positions, stack.gaps, strict=False)
    return np.array([start for start, size in pairs if size == gap], np.int64)


def _interpolation(scan: SliceScan, gap: int) -> Measured | None:
    """Returns how linear interpolation does on lines hidden inside slices."""

    def predict(context: Lines, turn: bool) -> tuple[Hidden, Hidden]:
        mean = linear_lines(context, gap)
        return mean, np.ones_like(mean)

    return measure(scan, gap, predict, fewest=FEWEST_ERRORS)


def _left_out(
    y: Image, stack: Stack, gap: int, foreground: float, worker: Callable[[Image], PatchWork]
) -> float | None:
    """Returns the model's error on left-out slices over that of interpolation.

    None where slices between two gaps of that size are too few.
    """
    kept = list(stack.positions[::2])
    out = [
        place
        for place, before, after in zip(
            stack.positions[1::2], stack.gaps[::2], stack.gaps[1::2], strict=False
        )
        if before == after == gap
    ]
    if len(stack.positions) < FEWEST_SLICES or not out:
        return None
    shown = np.full_like(y, np.nan)
    shown[..., kept] = y[..., kept]
    mean = worker(shown).moments()[0]
    places = np.array(out)
    truth = y[..., places]
    linear = 0.5 * (y[..., places - gap] + y[..., places + gap])
    head = (linear > foreground) & np.isfinite(truth)
    if head.sum() < FEWEST_ERRORS:
        return None
    ours, theirs = (
        float(np.square(x - truth)[head].mean(dtype=np.float64))
        for x in (mean[..., places], linear)
    )
    return float(np.sqrt(ours / theirs)) if theirs > 0 else None
