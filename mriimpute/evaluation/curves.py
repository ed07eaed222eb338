"""Curves of the uncertainty: rank histogram of the truth, and sparsification."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mriimpute import metrics

__all__ = ["Curves", "mean_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Curves of one method on one scan, or their mean over scans.

    Attributes:
        ranks: Fraction of voxels whose truth has rank 0 ... K among K draws; empty without draws.
        removed: Fractions of voxels that are removed; empty without a standard deviation.
        remaining: RMSE of the others over that of all, most uncertain removed first.
        oracle: The same with the largest errors removed first: no curve lies below.
    """

    ranks: tuple[float, ...] = ()
    removed: tuple[float, ...] = ()
    remaining: tuple[float, ...] = ()
    oracle: tuple[float, ...] = ()

    def rank_distance(self) -> float:
        """Returns the Kolmogorov distance of the ranks from flat ones; NaN without draws."""
        return metrics.rank_distance(np.array(self.ranks)) if self.ranks else math.nan

    def ause(self) -> float:
        """Returns the area between the curves of what remains; NaN without them."""
        if not self.removed:
            return math.nan
        removed, remaining, oracle = map(np.array, (self.removed, self.remaining, self.oracle))
        return metrics.ause(metrics.Sparsification(removed, remaining, oracle))


def mean_of(curves: Sequence[Curves]) -> Curves:
    """Returns the mean, point by point; empty for curves that some lack."""
    return Curves(
        ranks=_mean([c.ranks for c in curves]),
        removed=_mean([c.removed for c in curves]),
        remaining=_mean([c.remaining for c in curves]),
        oracle=_mean([c.oracle for c in curves]),
    )


def _mean(curves: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    if len({len(curve) for curve in curves}) != 1:
        return ()
    return tuple(np.mean(curves, axis=0).tolist())
