"""Does the stated uncertainty sort the errors? Remove the most uncertain voxels and see.

Axes: n = voxels of the region, p = points of a curve.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

__all__ = ["Sparsification", "ause", "sparsification"]

REMOVED_FRACTIONS = np.arange(20) / 20

Values = Float[np.ndarray, " n"]
Curve = Float[np.ndarray, " p"]


class Sparsification(NamedTuple):
    """RMSE of the voxels that remain over that of all of them, as ever more are removed.

    Attributes:
        removed: Fractions that are removed, 0 to 0.95.
        remaining: The most uncertain ones first.
        oracle: Those with the largest errors first: no order lies below.
    """

    removed: Curve
    remaining: Curve
    oracle: Curve


def sparsification(truth: Values, mean: Values, std: Values) -> Sparsification:
    """Returns the curves; zero throughout where there is no error.

    Voxels of equal uncertainty are removed in equal parts: a constant one gives a flat curve.

    References:
        Ilg et al., Uncertainty Estimates and Multi-Hypotheses Networks for Optical Flow, 2018,
        section 5.
    """
    squared = np.square(mean.astype(np.float64) - truth)
    return Sparsification(REMOVED_FRACTIONS, _curve(squared, std), _curve(squared, squared))


def ause(curves: Sparsification) -> float:
    """Returns the area between the curves, over fractions 0 to 0.95: 0 for the oracle's order.

    A constant uncertainty has 0.54 where errors are Gaussian of one size; an order that is worse
    than chance has more.
    """
    return float(np.trapezoid(curves.remaining - curves.oracle, curves.removed))


def _curve(squared: Values, order: Values) -> Curve:
    total = squared.sum()
    if not total:
        return np.zeros(len(REMOVED_FRACTIONS))
    _, group, counts = np.unique(order, return_inverse=True, return_counts=True)
    sums = np.bincount(group, weights=squared)
    kept = (1 - REMOVED_FRACTIONS) * len(squared)
    # Within a group of equals the sum grows in proportion, the first one from zero.
    ends, totals = np.append(0, np.cumsum(counts)), np.append(0.0, np.cumsum(sums))
    mean_of_kept = np.interp(kept, ends, totals) / kept
    curve: Curve = np.sqrt(mean_of_kept / (total / len(squared)))
    return curve
