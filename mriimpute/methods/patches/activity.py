"""How large errors between two lines are, told by what the lines show.

A model with one noise level is as sure of a fold of the cortex as of air. The variance of an error
at offset t of a gap is

    c_0(t) + c_1(t) v + c_2(t) d^2 + c_3(t) g^2,    c >= 0

with v the model's own, d the difference of both lines there, and g their slope along themselves;
d^2 and g^2 are means over three pixels. The coefficients are fitted to squared errors on hidden
lines, weighted by the inverse square of the variance, as the likelihood of a Gaussian asks for.

Axes: b = images, n = lines, m = intervals, t = offsets in an interval, w = pixels of a line.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import nnls

from mriimpute.cohort.slices import SliceScan
from mriimpute.methods.patches.families import LEAST
from mriimpute.methods.self_calibration import (
    Predict,
    Predictions,
    SelfCalibration,
    calibrate,
    hidden_predictions,
)

__all__ = ["Measured", "activity", "fitted", "measure", "variance_of"]

Lines = Float32[np.ndarray, "..."]
Hidden = Float32[np.ndarray, "b t m w"]

TERMS = 4

ROUNDS = 4
"""Of weighing errors anew."""

MOST_ERRORS = 20_000
"""Looked at, of each offset."""

FLAT = 1e-3
"""Of the mean squared error: no variance counts as smaller when errors are weighed."""


def activity(before: Lines, after: Lines, axis: int) -> tuple[Lines, Lines]:
    """Returns d^2 and g^2 between lines.

    Args:
        before: Lines on one side, finite.
        after: Those on the other.
        axis: Along the lines.
    """
    lines = before.shape[axis]
    slope = [np.gradient(x, axis=axis) if lines > 1 else np.zeros_like(x) for x in (before, after)]
    squares = np.square(after - before), 0.5 * (np.square(slope[0]) + np.square(slope[1]))
    d, g = (ndimage.uniform_filter1d(x, 3, axis=axis, mode="nearest") for x in squares)
    return d, g


def variance_of(
    coefficients: Float64[np.ndarray, "t 4"], own: NDArray[np.float32], d: Lines, g: Lines
) -> NDArray[np.float32]:
    """Returns the variance at all offsets, which are the last axis.

    Args:
        coefficients: See above.
        own: v, offsets along its last axis.
        d: d^2, of each interval.
        g: g^2, the same.
    """
    c = coefficients.astype(np.float32).T
    return c[0] + c[1] * own + c[2] * d[..., None] + c[3] * g[..., None]


def fitted(
    predictions: Sequence[Predictions],
    activities: Sequence[tuple[Lines, Lines]],
    shrinkage: Float32[np.ndarray, " t"],
) -> Float64[np.ndarray, "t 4"]:
    """Returns the coefficients that explain the errors on hidden lines best.

    Args:
        predictions: Of which the variance is v.
        activities: d^2 and g^2 of each, shape (b, m, w).
        shrinkage: How far the mean goes from interpolation to the model, at each offset.
    """
    return np.stack([_at(t, predictions, activities, s) for t, s in enumerate(shrinkage)])


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What hidden lines say about one size of the gap.

    Attributes:
        calibration: Of the std that the coefficients give.
        coefficients: Of the variance, see above.
    """

    calibration: SelfCalibration
    coefficients: Float64[np.ndarray, "t 4"]

    def variance(
        self, own: NDArray[np.float32], before: Lines, after: Lines, axis: int
    ) -> NDArray[np.float32]:
        """Returns the variance between lines along an axis; offsets are the last one."""
        factor = self.calibration.errors.deviation().astype(np.float32)
        return factor**2 * variance_of(self.coefficients, own, *activity(before, after, axis))


def measure(scan: SliceScan, gap: int, predict: Predict, *, fewest: int) -> Measured | None:
    """Returns how a predictor does on lines hidden inside slices; None with too few errors.

    Args:
        scan: The slices.
        gap: From one shown line to the next, in voxels.
        predict: To be measured.
        fewest: Errors in the head at each offset.
    """
    activities = []

    def watched(context: Float32[np.ndarray, "b n w"], turn: bool) -> tuple[Hidden, Hidden]:
        activities.append(activity(context[:, :-1], context[:, 1:], -1))
        return predict(context, turn)

    predictions = list(hidden_predictions(scan, gap, watched))
    first = calibrate(predictions, gap)
    if first.errors.fewest() < fewest:
        return None
    coefficients = fitted(predictions, activities, first.shrinkage)
    better = []
    for p, (d, g) in zip(predictions, activities, strict=True):
        variance = variance_of(coefficients, np.moveaxis(p.variance, 1, -1), d, g)
        variance = np.maximum(np.moveaxis(variance, -1, 1), np.float32(LEAST))
        better.append(dataclasses.replace(p, variance=variance))
    return Measured(calibrate(better, gap), coefficients)


def _at(
    t: int,
    predictions: Sequence[Predictions],
    activities: Sequence[tuple[Lines, Lines]],
    shrinkage: np.float32,
) -> Float64[np.ndarray, "4"]:
    rows, squares = [], []
    for p, (d, g) in zip(predictions, activities, strict=True):
        mean = p.pchip[:, t] + shrinkage * (p.mean[:, t] - p.pchip[:, t])
        terms = np.ones_like(d), p.variance[:, t], d, g
        rows.append(np.stack([term.ravel() for term in terms], axis=1))
        squares.append(np.square(p.target[:, t] - mean).ravel())
    x, y = np.concatenate(rows).astype(np.float64), np.concatenate(squares).astype(np.float64)
    every = -(-len(y) // MOST_ERRORS)
    x, y = x[::every], y[::every]
    scale = np.maximum(x.mean(axis=0), 1e-30)
    floor = max(FLAT * y.mean(), 1e-30)
    variance = np.full(len(y), y.mean())
    c = np.zeros(TERMS)
    for _ in range(ROUNDS):
        weight = 1 / np.maximum(variance, floor)
        c = nnls(x / scale * weight[:, None], y * weight)[0]
        variance = x / scale @ c
    found: Float64[np.ndarray, 4] = c / scale
    return found
