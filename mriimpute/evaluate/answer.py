"""What a method said of some voxels, beside the truth, and the scores that follow from it alone.

A score that a method does not earn is NaN: an interpolator has no interval to be covered.

Axes: n = voxels, s = draws.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from mriimpute import metrics

__all__ = ["Answer"]

Values = Float32[np.ndarray, " n"]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Truth and answer, voxel by voxel.

    Attributes:
        truth: What was there.
        mean: What was imputed.
        draws: None for a method that gives none.
        interval: Ends of the draws' central 90 %; None for too few draws or none.
    """

    truth: Values
    mean: Values
    draws: Float32[np.ndarray, "s n"] | None
    interval: tuple[Values, Values] | None

    def at(self, chosen: Bool[np.ndarray, " n"]) -> "Answer":
        """Returns the same of some of the voxels."""
        ends = self.interval
        return Answer(
            truth=self.truth[chosen],
            mean=self.mean[chosen],
            draws=None if self.draws is None else self.draws[:, chosen],
            interval=None if ends is None else (ends[0][chosen], ends[1][chosen]),
        )

    def crps(self) -> float:
        """Returns the CRPS: of a point mass, the absolute error, for a method without draws."""
        if self.draws is None:
            return metrics.mae(self.truth, self.mean)
        return metrics.crps(self.truth, self.draws)

    def coverage90(self) -> float:
        """Returns the share of voxels whose truth lies in their interval."""
        if self.interval is None:
            return math.nan
        return metrics.coverage(self.truth, *self.interval)

    def spread_skill(self) -> float:
        """Returns the spread of the draws over the error of the mean."""
        if self.draws is None:
            return math.nan
        return metrics.spread_skill(self.truth, self.mean, self.draws)

    def draw_gap_db(self) -> float:
        """Returns how many dB one draw lies below the mean."""
        if self.draws is None:
            return math.nan
        return metrics.draw_gap_db(self.truth, self.mean, self.draws)
