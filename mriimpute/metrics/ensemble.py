"""Draws, voxel by voxel: is the truth one more draw?

`ensemble_of` looks at all draws once, some voxels at a time, and keeps a few numbers of each
voxel: the scores of any part of the voxels follow from these.

Axes: n = voxels of the region, s = draws.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mriimpute.metrics.point import rmse

__all__ = [
    "COVERAGE_DRAWS",
    "Ensemble",
    "coverage",
    "crps",
    "draw_gap_db",
    "draws_needed",
    "ensemble_of",
    "interval",
    "rank_distance",
    "rank_histogram",
    "spread_skill",
]

COVERAGE_DRAWS = 19
"""Draws needed for the 90 % interval: their extremes then bracket 90 % of the distribution."""

CHUNK_VOXELS = 1 << 16  # sorted at a time

Values = Float[np.ndarray, " n"]
Draws = Float[np.ndarray, "s n"]


@dataclass(frozen=True, slots=True, eq=False)
class Ensemble:
    """A few numbers of each voxel that draws and truth give.

    Attributes:
        draws: Their number.
        crps: Fair continuous ranked probability score.
        centre: Mean of the draws.
        variance: Of the draws, unbiased.
        squared: Mean over draws of the squared error.
        covered: By nominal level, whether the truth lies in the central interval; only levels that
            so many draws allow, see `draws_needed`.
        below: Draws that are smaller than the truth.
        ties: Draws that equal it.
    """

    draws: int
    crps: Values
    centre: Values
    variance: Values
    squared: Values
    covered: Mapping[float, Bool[np.ndarray, " n"]]
    below: Int[np.ndarray, " n"]
    ties: Int[np.ndarray, " n"]

    def at(self, chosen: Bool[np.ndarray, " n"]) -> "Ensemble":
        """Returns the ensemble of the chosen voxels."""
        return Ensemble(
            draws=self.draws,
            crps=self.crps[chosen],
            centre=self.centre[chosen],
            variance=self.variance[chosen],
            squared=self.squared[chosen],
            covered={level: inside[chosen] for level, inside in self.covered.items()},
            below=self.below[chosen],
            ties=self.ties[chosen],
        )


def ensemble_of(truth: Values, draws: Draws, *, levels: Sequence[float] = ()) -> Ensemble:
    """Returns the numbers of each voxel, from all draws at once.

    The CRPS is the fair one of Ferro, Fair scores for ensemble forecasts, 2014 (see `crps`), the
    ends of an interval are those of `interval`.

    Args:
        truth: What was there.
        draws: At least two.
        levels: Nominal levels of central intervals, 0 to 1. One that needs more draws is left out.
    """
    if len(draws) < 2:
        raise ValueError(f"draws must be at least 2, got {len(draws)}")
    allowed = [level for level in levels if draws_needed(level) <= len(draws)]
    parts = [
        slice(start, start + CHUNK_VOXELS) for start in range(0, max(len(truth), 1), CHUNK_VOXELS)
    ]
    chunks = [_chunk(truth[part], draws[:, part], allowed) for part in parts]

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(chunk, name) for chunk in chunks])

    return Ensemble(
        draws=len(draws),
        crps=joined("crps"),
        centre=joined("centre"),
        variance=joined("variance"),
        squared=joined("squared"),
        covered={
            level: np.concatenate([chunk.covered[level] for chunk in chunks]) for level in allowed
        },
        below=joined("below"),
        ties=joined("ties"),
    )


def crps(truth: Values, draws: Draws) -> float:
    """Returns the fair continuous ranked probability score of an ensemble, mean over voxels.

        crps = mean_k |x_k - y| - 1 / (2 s (s - 1)) sum_kl |x_k - x_l|

    It does not favour any number of draws, and for one draw repeated it is the absolute error.

    Args:
        truth: y.
        draws: x, at least two.

    References:
        Ferro, Fair scores for ensemble forecasts, 2014; the estimator "fair" of scoringrules.
    """
    return float(ensemble_of(truth, draws).crps.mean(dtype=np.float64))


def draws_needed(level: float) -> int:
    """Returns the fewest draws whose extremes bracket this fraction of their distribution.

    Example:
        >>> [draws_needed(level) for level in (0.5, 0.8, 0.9, 0.95)]
        [3, 9, 19, 39]
    """
    return round((1 + level) / (1 - level))


def interval(draws: Draws, *, level: float = 0.9) -> tuple[Values, Values]:
    """Returns per voxel the ends of the central interval of an ensemble.

    Quantile p lies at rank p (s + 1) among s draws, interpolated: a further value of the same
    distribution falls inside with probability `level`, whatever s. That takes
    s >= (1 + level) / (1 - level) draws, 19 for 90 %.
    """
    needed = draws_needed(level)
    if len(draws) < needed:
        raise ValueError(f"draws must be at least {needed}, got {len(draws)}")

    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0, method="weibull")
    return low, high


def coverage(truth: Values, low: Values, high: Values) -> float:
    """Returns the fraction of voxels whose truth lies in their interval, ends included."""
    return float(((truth >= low) & (truth <= high)).mean())


def spread_skill(truth: Values, mean: Values, variance: Values) -> float:
    """Returns the spread of the draws over the error of the mean: 1 where they agree.

    sqrt(mean over voxels of the draws' unbiased variance) / RMSE(mean). Below 1: overconfident.
    """
    error = rmse(truth, mean)
    return math.sqrt(variance.mean(dtype=np.float64)) / error if error else math.inf


def draw_gap_db(truth: Values, mean: Values, ensemble: Ensemble) -> float:
    """Returns how many dB one draw lies below the mean; 3.01 for an ideal sampler.

    10 log10(E |draw - y|^2 / E |mean - y|^2). A draw that is distributed as the truth is has
    twice the squared error of the conditional mean. Less: collapsed; more: over-dispersed.
    """
    error = rmse(truth, mean)
    of_draws = float(ensemble.squared.mean(dtype=np.float64))
    if not error:
        return math.inf
    return 10 * math.log10(of_draws / error**2) if of_draws else -math.inf


def rank_histogram(ensemble: Ensemble) -> Float[np.ndarray, " ranks"]:
    """Returns the rank histogram: fractions of voxels whose truth has rank 0 ... s among s draws.

    Flat, 1 / (s + 1) each, where the truth is distributed as the draws are: U-shaped if they
    differ too little, dome-shaped if too much, sloped if they lie to one side. A truth that
    equals t draws counts as 1 / (t + 1) in each of the t + 1 ranks that it could have.
    """
    # Each voxel is a box over the ranks below ... below + ties: its two ends are counted.
    weight = 1 / (1 + ensemble.ties)
    bins = ensemble.draws + 2
    starts = np.bincount(ensemble.below, weights=weight, minlength=bins)
    stops = np.bincount(ensemble.below + ensemble.ties + 1, weights=weight, minlength=bins)
    histogram: Float[np.ndarray, " ranks"] = np.cumsum(starts - stops)[:-1] / len(ensemble.below)
    return histogram


def rank_distance(histogram: Float[np.ndarray, " ranks"]) -> float:
    """Returns the largest distance of the cumulative rank histogram from the flat one; 0 is flat.

    The Kolmogorov distance: it reaches 0.5 where the truth is always beyond the draws, half on
    each side.
    """
    flat = np.arange(1, len(histogram) + 1) / len(histogram)
    return float(np.abs(np.cumsum(histogram) - flat).max())


def _chunk(truth: Values, draws: Draws, levels: Sequence[float]) -> Ensemble:
    # Errors, not intensities: no sum then loses anything to a large common offset. Draws of one
    # voxel lie side by side: sorting them is several times faster than across.
    errors = np.sort((draws - truth).T, axis=1)
    count = errors.shape[1]
    centre = errors.mean(axis=1)
    squared = np.square(errors).mean(axis=1)
    variance = np.square(errors - centre[:, None]).sum(axis=1) / (count - 1)

    # Sorted, x_l - x_k for l > k sums to a weight per rank: sum_kl |x_k - x_l| = 2 sum_k w_k x_k.
    weights = (2 * np.arange(count) - count + 1).astype(errors.dtype)
    half_distance = (errors - centre[:, None]) @ weights / (count * (count - 1))

    below = (errors < 0).sum(axis=1, dtype=np.int32)
    return Ensemble(
        draws=count,
        crps=np.abs(errors).mean(axis=1) - half_distance,
        centre=truth + centre,
        variance=variance,
        squared=squared,
        covered={level: _covered(errors, level) for level in levels},
        below=below,
        ties=(errors <= 0).sum(axis=1, dtype=np.int32) - below,
    )


def _covered(errors: Float[np.ndarray, "n s"], level: float) -> Bool[np.ndarray, " n"]:
    """Returns where zero lies between the ends of `interval`, from sorted errors."""
    tail = (1 - level) / 2
    low, high = _quantile(errors, tail), _quantile(errors, 1 - tail)
    inside: Bool[np.ndarray, " n"] = (low <= 0) & (high >= 0)
    return inside


def _quantile(errors: Float[np.ndarray, "n s"], p: float) -> Values:
    count = errors.shape[1]
    place = min(max(p * (count + 1) - 1, 0.0), count - 1.0)
    before = int(place)
    after = min(before + 1, count - 1)
    return errors[:, before] + (place - before) * (errors[:, after] - errors[:, before])
