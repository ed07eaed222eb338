"""What a method said of some voxels, beside the truth, and the scores that follow from it alone.

A score that a method does not earn is NaN: an interpolator has no interval to be covered.

Axes: n = voxels.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from mriimpute import metrics

__all__ = ["SHARES", "Answer"]

SHARES = (0.5, 0.8, 0.9, 0.95)
"""Nominal shares of the central intervals whose coverage is counted."""

FLOOR_PERCENT = 0.01
"""Standard deviations below this share of the data range count as this: certainty has no price."""

Values = Float32[np.ndarray, " n"]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Truth and answer, voxel by voxel.

    Attributes:
        truth: What was there.
        mean: What was imputed.
        std: How sure the method says it is; None where it says nothing.
        ensemble: What its draws say; None for a method that gives none.
        data_range: Intensity that counts as the whole range.
    """

    truth: Values
    mean: Values
    std: Values | None
    ensemble: metrics.Ensemble | None
    data_range: float

    def at(self, chosen: Bool[np.ndarray, " n"]) -> "Answer":
        """Returns the same of some of the voxels."""
        return Answer(
            truth=self.truth[chosen],
            mean=self.mean[chosen],
            std=None if self.std is None else self.std[chosen],
            ensemble=None if self.ensemble is None else self.ensemble.at(chosen),
            data_range=self.data_range,
        )

    def percent(self, error: float) -> float:
        """Returns an intensity in percent of the data range."""
        return 100 / self.data_range * error

    def psnr(self) -> float:
        """Returns the PSNR of the mean, in dB."""
        return metrics.psnr(self.truth, self.mean, data_range=self.data_range)

    def mae_percent(self) -> float:
        """Returns the mean absolute error of the mean."""
        return self.percent(metrics.mae(self.truth, self.mean))

    def crps_percent(self) -> float:
        """Returns the CRPS: of a point mass, the absolute error, for a method without draws."""
        if self.ensemble is None:
            return self.mae_percent()
        return self.percent(float(self.ensemble.crps.mean(dtype=np.float64)))

    def coverage(self, share: float) -> float:
        """Returns the share of voxels in the central interval of the draws; NaN for too few."""
        if self.ensemble is None or share not in self.ensemble.covered:
            return math.nan
        return float(self.ensemble.covered[share].mean())

    def coverage_std(self, share: float) -> float:
        """Returns the same of the interval of a Gaussian with the stated standard deviation."""
        if self.std is None:
            return math.nan
        return metrics.coverage(
            self.truth, *metrics.gaussian_interval(self.mean, self.std, share=share)
        )

    def spread_skill(self) -> float:
        """Returns the spread of the draws over the error of the mean."""
        if self.ensemble is None:
            return math.nan
        error = metrics.rmse(self.truth, self.mean)
        variance = self.ensemble.variance.mean(dtype=np.float64)
        return math.sqrt(variance) / error if error else math.inf

    def draw_gap_db(self) -> float:
        """Returns how many dB one draw lies below the mean."""
        if self.ensemble is None:
            return math.nan
        error = metrics.rmse(self.truth, self.mean)
        of_draws = float(self.ensemble.squared.mean(dtype=np.float64))
        if not error:
            return math.inf
        return 10 * math.log10(of_draws / error**2) if of_draws else -math.inf

    def nll_std(self) -> float:
        """Returns the NLL of the Gaussian of mean and std, in nats, per percent of the range."""
        if self.std is None:
            return math.nan
        return self._per_percent(metrics.nll(self.truth, self.mean, self.std, floor=self._floor()))

    def nll_draws(self) -> float:
        """Returns the NLL of the Gaussian that the draws come from."""
        if self.ensemble is None:
            return math.nan
        return self._per_percent(
            metrics.nll_of_draws(self.truth, self.ensemble, floor=self._floor())
        )

    def sparsification(self) -> metrics.Sparsification | None:
        """Returns how well the std, or that of the draws, sorts the errors."""
        if self.std is not None:
            return metrics.sparsification(self.truth, self.mean, self.std)
        if self.ensemble is not None:
            return metrics.sparsification(self.truth, self.mean, self.ensemble.variance)
        return None

    def _floor(self) -> float:
        return FLOOR_PERCENT / 100 * self.data_range

    def _per_percent(self, nll: float) -> float:
        return nll + math.log(self.percent(1.0))
