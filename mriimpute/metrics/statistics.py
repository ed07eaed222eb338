"""How sure a difference between methods is: the subject is what varies, never the voxel.

Intervals are bias-corrected and accelerated (BCa) bootstrap intervals over subjects, differences
are paired, and p-values are corrected for the number of methods that are compared. Below five
subjects there is neither: a Wilcoxon test of four cannot give p < 0.125 whatever is measured.

Axes: b = subjects, m = estimates.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float64
from scipy import stats

from mriimpute.seeds import numpy_stream

__all__ = [
    "MIN_SUBJECTS",
    "RESAMPLES",
    "Comparison",
    "Estimate",
    "compare",
    "estimate",
    "estimates",
    "holm",
    "ratio_of_means",
    "signed_rank_p",
]

MIN_SUBJECTS = 5
RESAMPLES = 10_000
CONFIDENCE = 0.95
BATCH_ESTIMATES = 16  # estimates whose resamples are held at once

Key = TypeVar("Key")

Values = Float64[np.ndarray, " b"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over subjects and its 95 % bootstrap interval; NaN where there is none."""

    mean: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One method against another, subject by subject.

    Attributes:
        reference: Name of the other method.
        mean: PSNR minus that of the reference, mean over subjects, in dB.
        median: The same, median over subjects.
        p: Two-sided Wilcoxon signed-rank test, after Holm's correction for all methods that are
            compared with this reference.
        p_alone: Before the correction.
        wins: Subjects whose PSNR is higher than with the reference.
        subjects: Their number.
    """

    reference: str
    mean: Estimate
    median: Estimate
    p: float
    p_alone: float
    wins: int
    subjects: int


def estimate(values: Values, seed: int, *, statistic: Callable[..., Any] = np.mean) -> Estimate:
    """Returns the mean over subjects, or another statistic, with its BCa bootstrap interval.

    Without an interval for fewer than five subjects, and where a value is not finite. Of equal
    values it is that value. Where BCa is undefined (leaving any one subject out changes nothing,
    as with some medians) it is the percentile interval of the same resamples.

    References:
        Efron, Better Bootstrap Confidence Intervals, 1987; `scipy.stats.bootstrap`.

    Args:
        values: One per subject.
        seed: Of the bootstrap. The same resampled subjects serve all methods and scores.
        statistic: `np.mean` or `np.median`.
    """
    return estimates({"": values}, seed, statistic=statistic)[""]


def estimates(
    values: Mapping[Key, Values], seed: int, *, statistic: Callable[..., Any] = np.mean
) -> dict[Key, Estimate]:
    """Returns the estimate of each of many: the same numbers as one by one, in less time."""
    means = {}
    for key, scores in values.items():
        with np.errstate(invalid="ignore"):  # perfect here, infinitely bad there: no number
            middle = float(statistic(scores)) if len(scores) else math.nan
        constant = len(scores) >= MIN_SUBJECTS and bool((scores == scores[0]).all())
        ends = (middle, middle) if constant and math.isfinite(middle) else (math.nan, math.nan)
        means[key] = Estimate(mean=middle, low=ends[0], high=ends[1])

    varied = [key for key, scores in values.items() if _varies(scores)]
    for count in {len(values[key]) for key in varied}:
        same_size = [key for key in varied if len(values[key]) == count]
        for start in range(0, len(same_size), BATCH_ESTIMATES):
            batch = same_size[start : start + BATCH_ESTIMATES]
            intervals = _bootstrap_intervals(
                [np.stack([values[key] for key in batch])], seed, statistic
            )
            for key, (low, high) in zip(batch, intervals, strict=True):
                means[key] = Estimate(mean=means[key].mean, low=float(low), high=float(high))
    return means


def ratio_of_means(part: Values, whole: Values, seed: int) -> Estimate:
    """Returns the mean of one gain over that of another, subjects resampled with both.

    NaN where the mean of `whole` is not positive; without an interval for fewer than five
    subjects, and where resampled means of `whole` may not be positive.

    Args:
        part: Gains, one per subject.
        whole: Gains of the same subjects, to divide by.
        seed: Of the bootstrap.
    """
    if whole.mean() <= 0:
        return Estimate(mean=math.nan)
    value = float(part.mean() / whole.mean())
    if len(part) < MIN_SUBJECTS:
        return Estimate(mean=value)

    def ratio(part: Any, whole: Any, axis: int) -> Any:
        means = whole.mean(axis=axis)
        return part.mean(axis=axis) / np.where(means > 0, means, np.nan)

    ((low, high),) = _bootstrap_intervals((part[None], whole[None]), seed, ratio)
    return Estimate(mean=value, low=float(low), high=float(high))


def compare(scores: Mapping[str, Values], reference: str, seed: int) -> dict[str, Comparison]:
    """Returns every other method against one of them; nothing for fewer than five subjects.

    Args:
        scores: PSNR per subject, the same subjects for each method.
        reference: One of the methods.
        seed: Of the bootstrap.
    """
    base = scores[reference]
    if len(base) < MIN_SUBJECTS:
        return {}
    gains = {
        method: _difference(values, base)
        for method, values in scores.items()
        if method != reference
    }
    alone = [signed_rank_p(gain) for gain in gains.values()]
    return {
        method: Comparison(
            reference=reference,
            mean=estimate(gain, seed),
            median=estimate(gain, seed, statistic=np.median),
            p=corrected,
            p_alone=p,
            wins=int((gain > 0).sum()),
            subjects=len(gain),
        )
        for (method, gain), p, corrected in zip(gains.items(), alone, holm(alone), strict=True)
    }


def signed_rank_p(gains: Values) -> float:
    """Returns the two-sided p-value of the Wilcoxon signed-rank test; 1 if nothing differs.

    Exact where the subjects are few enough, as `scipy.stats.wilcoxon` decides; subjects without
    a difference are dropped.
    """
    if not gains.any():
        return 1.0
    return float(stats.wilcoxon(gains).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Returns p-values after Holm's step-down correction, in the order given.

    The smallest counts times m, the next times m - 1 ..., none less than the one before.

    References:
        Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979.

    Example:
        >>> holm([0.02, 0.001, 0.03])
        [0.04, 0.003, 0.04]
    """
    order = np.argsort(p, kind="stable")
    steps = np.asarray(p, np.float64)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in corrected]


def _varies(scores: Values) -> bool:
    if len(scores) < MIN_SUBJECTS or not np.isfinite(scores).all():
        return False
    return bool((scores != scores[0]).any())


def _bootstrap_intervals(
    tables: Sequence[Float64[np.ndarray, "m b"]], seed: int, statistic: Callable[..., Any]
) -> Float64[np.ndarray, "m 2"]:
    """Returns the ends of the interval of a statistic of paired tables, row by row."""

    # How resamples lie in memory depends on the number of rows, and the order of a sum on that: a
    # mean of resampled subjects would equal the mean itself in one table and not in another.
    def of_rows(*resampled: Any, axis: int) -> Any:
        return statistic(*map(np.ascontiguousarray, resampled), axis=axis)

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            tables,
            of_rows,
            paired=len(tables) > 1,
            n_resamples=RESAMPLES,
            confidence_level=CONFIDENCE,
            method="BCa",
            vectorized=True,
            axis=-1,
            rng=numpy_stream(seed, "evaluate", "bootstrap"),
        )
    tail = (1 - CONFIDENCE) / 2
    plain = np.quantile(result.bootstrap_distribution, [tail, 1 - tail], axis=-1).T
    corrected = np.stack(result.confidence_interval, axis=-1)
    ends: Float64[np.ndarray, "m 2"] = np.where(
        np.isfinite(corrected).all(axis=-1, keepdims=True), corrected, plain
    )
    return ends


def _difference(values: Values, base: Values) -> Values:
    """Returns the gains; of two perfect scores, which are infinite, none."""
    with np.errstate(invalid="ignore"):
        return np.where(values == base, 0.0, values - base)
