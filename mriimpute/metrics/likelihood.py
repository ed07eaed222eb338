"""The negative log-likelihood (NLL) of the truth, in nats per voxel: lower is better.

Axes: n = voxels of the region.
"""

import math

import numpy as np
from jaxtyping import Float
from scipy.special import digamma, ndtri

from mriimpute.metrics.ensemble import Ensemble

__all__ = ["gaussian_interval", "nll", "nll_of_draws"]

MIN_DRAWS = 4  # the inverse of a sample variance has no mean for fewer

Values = Float[np.ndarray, " n"]


def nll(truth: Values, mean: Values, std: Values, *, floor: float) -> float:
    """Returns the negative log density of a Gaussian at the truth, mean over voxels, in nats.

        nll = mean 0.5 log(2 pi s^2) + (y - m)^2 / (2 s^2)

    In units of the intensities: of the density per unit. Exact: 0.5 log(2 pi e s^2).

    Args:
        truth: y.
        mean: m.
        std: s; smaller values count as `floor`.
        floor: Above zero: one voxel that is stated to be certain must not count infinity.
    """
    variance = np.square(np.maximum(std.astype(np.float64), floor))
    error = np.square(mean.astype(np.float64) - truth)
    return float(np.mean(0.5 * np.log(2 * math.pi * variance) + error / (2 * variance)))


def nll_of_draws(truth: Values, ensemble: Ensemble, *, floor: float) -> float:
    """Returns the NLL of the Gaussian that the draws come from, whatever their number; or NaN.

    With m and v the mean and the unbiased variance of s draws, and d = digamma,

        0.5 log(2 pi v) + (s - 3) / (s - 1) (y - m)^2 / (2 v)
        + 0.5 (log((s - 1) / 2) - d((s - 1) / 2) - 1 / s)

    has for Gaussian draws the mean that their true mean and variance would give. A kernel density
    would not: its bandwidth is a choice, and twenty draws are scored worse than a hundred. NaN
    for fewer than four draws.

    References:
        Siegert et al., The ensemble-adjusted Ignorance Score for forecasts issued as Normal
        distributions, 2019.
    """
    count = ensemble.draws
    if count < MIN_DRAWS:
        return math.nan

    half = (count - 1) / 2
    variance = np.maximum(ensemble.variance.astype(np.float64), floor**2)
    error = np.square(ensemble.centre.astype(np.float64) - truth)
    shrunk = (count - 3) / (count - 1) * error
    of_voxels = 0.5 * np.log(2 * math.pi * variance) + shrunk / (2 * variance)
    return float(of_voxels.mean() + 0.5 * (math.log(half) - digamma(half) - 1 / count))


def gaussian_interval(mean: Values, std: Values, *, level: float) -> tuple[Values, Values]:
    """Returns the ends of the central interval of a Gaussian; mean -+ 1.645 std for 90 %."""
    half = float(ndtri((1 + level) / 2)) * std
    return mean - half, mean + half
