"""What a method predicts of some voxels, beside their truth, and the scores of that.

A score is NaN where a method does not give what it takes: an interpolator has no interval.

Axes: n = voxels.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from mriimpute import metrics

__all__ = ["COVERAGE_LEVELS", "Prediction"]

COVERAGE_LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Nominal levels of the central intervals whose coverage is counted."""

NLL_STD_FLOOR_PERCENT = 0.01
"""Standard deviations below this, in percent of the data range, count as this in the NLL."""

Values = Float32[np.ndarray, " n"]


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Truth and prediction, voxel by voxel.

    Attributes:
        truth: In input units, as all intensities here.
        mean: The imputed values.
        std: The stated standard deviation; None for a method that states none.
        ensemble: Summary of its draws; None for a method that gives none.
        data_range: Intensity that counts as the whole range.
    """

    truth: Values
    mean: Values
    std: Values | None
    ensemble: metrics.Ensemble | None
    data_range: float

    def at(self, chosen: Bool[np.ndarray, " n"]) -> "Prediction":
        """Returns the prediction of the chosen voxels."""
        return Prediction(
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
        """Returns the mean absolute error of the mean, in percent of the data range."""
        return self.percent(metrics.mae(self.truth, self.mean))

    def crps_percent(self) -> float:
        """Returns the CRPS in percent; without draws that of a point mass, the MAE."""
        if self.ensemble is None:
            return self.mae_percent()
        return self.percent(float(self.ensemble.crps.mean(dtype=np.float64)))

    def coverage(self, level: float) -> float:
        """Returns the fraction of voxels in the draws' central interval; NaN for too few draws."""
        if self.ensemble is None or level not in self.ensemble.covered:
            return math.nan
        return float(self.ensemble.covered[level].mean())

    def coverage_std(self, level: float) -> float:
        """Returns the fraction of voxels in the interval of a Gaussian of mean and std."""
        if self.std is None:
            return math.nan
        return metrics.coverage(
            self.truth, *metrics.gaussian_interval(self.mean, self.std, level=level)
        )

    def spread_skill(self) -> float:
        """Returns the spread of the draws over the RMSE of the mean."""
        if self.ensemble is None:
            return math.nan
        return metrics.spread_skill(self.truth, self.mean, self.ensemble.variance)

    def draw_gap_db(self) -> float:
        """Returns how many dB one draw lies below the mean."""
        if self.ensemble is None:
            return math.nan
        return metrics.draw_gap_db(self.truth, self.mean, self.ensemble)

    def nll_std(self) -> float:
        """Returns the NLL of the Gaussian of mean and std, in nats, per percent of the range."""
        if self.std is None:
            return math.nan
        return self._per_percent(metrics.nll(self.truth, self.mean, self.std, floor=self._floor()))

    def nll_draws(self) -> float:
        """Returns the NLL of the Gaussian that the draws come from, as `nll_std`."""
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
        return NLL_STD_FLOOR_PERCENT / 100 * self.data_range

    def _per_percent(self, nll: float) -> float:
        return nll + math.log(self.percent(1.0))
