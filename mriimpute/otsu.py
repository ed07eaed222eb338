"""Otsu's thresholds: between classes of intensities that vary as little as possible inside.

Over a histogram with h_b values in bin b, the variance inside of the classes is least where

    sum_c (sum_{b in c} b h_b)^2 / sum_{b in c} h_b

is largest. It is found by dynamic programming, class after class.

References:
    Otsu, A Threshold Selection Method from Gray-Level Histograms, 1979.
    Liao, Chen & Chung, A Fast Algorithm for Multilevel Thresholding, 2001.
"""

import numpy as np
from jaxtyping import Float, Float64, Int64

__all__ = ["BINS", "otsu_thresholds"]

BINS = 256

OFF_EDGE = 0.01
"""Of a bin. Evenly spaced intensities would lie on edges, and rounding would choose their bins."""


def otsu_thresholds(
    values: Float[np.ndarray, "..."], classes: int = 2
) -> Float64[np.ndarray, " limits"]:
    """Returns the centre of the last bin of each class but the brightest; of equals the darkest.

    They follow the unit of the intensities: those of a y + b are a t + b, a > 0.

    Args:
        values: Finite; at least two that differ.
        classes: From 2.
    """
    low, high = float(values.min()), float(values.max())
    # Of the range, in double precision: single has no room for bins between two neighbours.
    shares = (values.astype(np.float64) - low) / (high - low)
    counts, _ = np.histogram(shares, BINS, range=(-OFF_EDGE / BINS, 1.0))
    ends = _last_bins(counts, classes)
    thresholds: Float64[np.ndarray, " limits"] = low + (ends + 0.5) / BINS * (high - low)
    return thresholds


def _last_bins(counts: Int64[np.ndarray, " bins"], classes: int) -> Int64[np.ndarray, " limits"]:
    """Returns the last bin of each class but the last."""
    merit = _merit(counts)
    bins = len(counts)
    best, choices = merit[0], []
    for _ in range(classes - 1):
        # total[s, t]: the classes so far end before bin s, one more before bin t.
        total = np.where(np.tri(bins + 1, k=-1, dtype=bool).T, best[:, None] + merit, -np.inf)
        choices.append(total.argmax(axis=0))
        best = total.max(axis=0)
    ends = [bins]
    for choice in reversed(choices):
        ends.insert(0, int(choice[ends[0]]))
    return np.array(ends[:-1]) - 1


def _merit(counts: Int64[np.ndarray, " bins"]) -> Float64[np.ndarray, "ends ends"]:
    """Returns (sum b h_b)^2 / sum h_b over bins s to t - 1, 0 where they are empty; s, t >= 0."""
    sizes = np.concatenate([[0], np.cumsum(counts)])
    sums = np.concatenate([[0], np.cumsum(counts * np.arange(len(counts)))])
    size, total = sizes - sizes[:, None], (sums - sums[:, None]).astype(np.float64)
    merit: Float64[np.ndarray, "ends ends"] = total**2 / np.maximum(size, 1)
    return merit
