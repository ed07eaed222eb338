"""Slice stacks completed by a model of three axes, whose std is measured on the scan itself.

Slices show a block as imputation meets it where every second one is left out, hence at twice the
gap g and in the middle of it alone. Linear interpolation of lines hidden inside slices, of which
every offset is known, says how errors grow with the gap and the offset. With E the error of the
model on left-out slices, L(g, t) that of interpolation on hidden lines at offset t, and S(t) the
std that the model has there, all root mean squares over the head, the std is multiplied by

    E L(g, t) / (L(2 g, g) S(t)).

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
from mriimpute.methods.patches.families import LEAST, Completed, Family, correlations_of
from mriimpute.methods.patches.work import PatchWork
from mriimpute.methods.self_calibration import SelfCalibration, calibrate, hidden_predictions

__all__ = ["completed"]

Image = Float32[np.ndarray, "x y p"]
Lines = Float32[np.ndarray, "b n w"]
Hidden = Float32[np.ndarray, "b t m w"]

FEWEST_ERRORS = 500
"""Pixels of the head, at each offset and on left-out slices."""

FEWEST_SLICES = 5
"""Of a stack, to leave out every second one."""


def completed(
    y: Image, stack: Stack, scan: SliceScan, worker: Callable[[Image], PatchWork]
) -> Completed:
    """Returns the mean and the variance of all voxels.

    Args:
        y: Normalised, slices across the last axis, NaN where missing.
        stack: Where slices lie on that axis.
        scan: The same slices.
        worker: Completes a grid.
    """
    family = Family.of(worker(y))
    variance, measured = family.total.copy(), {}
    for gap in sorted({gap for gap in stack.gaps if gap > 1}):
        of_lines = {size: _interpolation(scan, size) for size in (gap, 2 * gap)}
        error = _left_out(y, stack, gap, scan.foreground, worker)
        if error is None or min(x.errors.fewest() for x in of_lines.values()) < FEWEST_ERRORS:
            continue
        measured[gap] = of_lines[gap]
        known, wide = (of_lines[size].errors.deviation() for size in (gap, 2 * gap))
        places = _places(stack, gap)
        head = _between(y, places, gap) > scan.foreground
        squares = np.where(head[..., None], family.total[..., places], 0).sum(axis=(0, 1, 2))
        std = np.sqrt((squares + squares[::-1]) / (2 * max(int(head.sum()), 1)))
        factor = error * known / (wide[gap - 1] * np.maximum(std, LEAST))
        variance[..., places] *= np.square(factor).astype(np.float32)
    share = (np.ones_like(variance),)
    return Completed((family,), share, family.mean, variance, correlations_of(measured))


def _places(stack: Stack, gap: int) -> NDArray[np.int64]:
    """Returns the missing positions of all gaps of one size, (m, t)."""
    starts = [a for a, size in zip(stack.positions, stack.gaps, strict=False) if size == gap]
    return np.add.outer(starts, np.arange(1, gap))


def _between(y: Image, places: NDArray[np.int64], gap: int) -> Float32[np.ndarray, "x y m"]:
    """Returns the mean of the slices on both sides of each gap."""
    mean: Float32[np.ndarray, "x y m"] = 0.5 * (
        y[..., places[:, 0] - 1] + y[..., places[:, 0] + gap - 1]
    )
    return mean


def _interpolation(scan: SliceScan, gap: int) -> SelfCalibration:
    """Returns how linear interpolation does on lines hidden inside slices."""

    def predict(context: Lines, turn: bool) -> tuple[Hidden, Hidden]:
        mean = linear_lines(context, gap)
        return mean, np.ones_like(mean)

    return calibrate(list(hidden_predictions(scan, gap, predict)), gap)


def _left_out(
    y: Image, stack: Stack, gap: int, foreground: float, worker: Callable[[Image], PatchWork]
) -> float | None:
    """Returns the error on slices between two gaps of a size, left out; None with too few."""
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
    head = 0.5 * (y[..., places - gap] + y[..., places + gap]) > foreground
    error = (mean[..., places] - y[..., places])[head & np.isfinite(y[..., places])]
    if error.size < FEWEST_ERRORS:
        return None
    return float(np.sqrt(np.square(error, dtype=np.float64).mean()))
