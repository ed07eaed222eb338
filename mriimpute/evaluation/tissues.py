"""Limits between the tissues of a test case: three classes by intensity, dark to bright.

Those of the truth are fitted to all of the brain, what is missing filled with the truth. Whoever
imputes has no truth, but real slices: limits for mean and draws are fitted to the acquired voxels
of the brain, so that no method moves them. Other slices would have given others. How different is
told by limits of half of the slices, one of each two neighbours, 16 balanced choices: the mean
square of their differences is the variance of whatever depends on the limits, times the share of
the brain that is missing, about which alone the acquired voxels may be wrong. Where slices are
equally far apart this is more than limits err.

References:
    Wolter, Introduction to Variance Estimation, 2007, chapters 3 and 8: balanced half-samples,
    for samples taken at equal steps.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import hadamard

from mriimpute import metrics
from mriimpute.evaluation.case import TestCase

__all__ = ["Limits", "TissueLimits", "half_samples", "tissue_limits"]

HALF_SAMPLES = 16

Limits = Float[np.ndarray, " limits"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TissueLimits:
    """Limits between the tissues of one test case, in input units.

    Attributes:
        truth: Fitted to the truth.
        acquired: Fitted to the acquired voxels.
        half_samples: Fitted to half of the acquired slices; none off a stack.
        missing_share: Of the brain.
    """

    truth: Limits
    acquired: Limits
    half_samples: tuple[Limits, ...]
    missing_share: float


def tissue_limits(case: TestCase) -> TissueLimits | None:
    """Returns the limits between the tissues of a case; None where they are fewer than three."""
    seen = case.brain & case.volume.observed
    complete = np.where(case.volume.observed, case.volume.data, case.truth)
    whole = metrics.tissue_thresholds(complete[seen | case.region])
    values = case.volume.data[seen]
    acquired = metrics.tissue_thresholds(values)
    if whole is None or acquired is None:
        return None
    halves: list[Limits | None] = []
    if case.stack is not None:
        places = np.nonzero(seen)[case.stack.axis]
        slices = np.searchsorted(case.stack.positions, places)
        chosen = half_samples(len(case.stack.positions))
        halves = [metrics.tissue_thresholds(values[half[slices]]) for half in chosen]
    return TissueLimits(
        truth=whole,
        acquired=acquired,
        half_samples=tuple(half for half in halves if half is not None),
        missing_share=float(case.region.sum() / (case.region.sum() + seen.sum())),
    )


def half_samples(slices: int) -> list[Bool[np.ndarray, " slices"]]:
    """Returns which slices are in each half sample: one of each two neighbours, the odd one too.

    Of any two pairs all four combinations are as frequent, as rows of a Hadamard matrix say, up
    to 15 pairs; more pairs take their turns.
    """
    pairs, alone = divmod(slices, 2)
    signs = hadamard(HALF_SAMPLES)[1 + np.arange(pairs) % (HALF_SAMPLES - 1)] > 0
    both = np.stack([signs, ~signs], axis=1).reshape(2 * pairs, HALF_SAMPLES)
    return list(np.concatenate([both, np.ones((alone, HALF_SAMPLES), bool)]).T)
