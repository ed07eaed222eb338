"""From rows to standings: means over subjects, with their uncertainty."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from mriimpute.evaluate.panels import Panel
from mriimpute.evaluate.scores import METRICS, Row
from mriimpute.seeds import numpy_stream

__all__ = ["INTERPOLATORS", "Estimate", "Standing", "Summary", "summarise"]

INTERPOLATORS = ("linear", "pchip", "cubic")
FEWEST_SUBJECTS = 5
RESAMPLES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over subjects and its 95 % bootstrap interval; NaN where there is none."""

    mean: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One method over all test subjects.

    Attributes:
        method: Its name.
        scores: Mean over subjects of each metric.
        gain_db: PSNR minus that of the best interpolator, subject by subject.
    """

    method: str
    scores: Mapping[str, Estimate]
    gain_db: Estimate


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Summary:
    """The result of an evaluation.

    Attributes:
        report: The folder that holds it.
        standings: Best PSNR first if `ranked`, else in the order asked for.
        rows: One per scan and method.
        panels: What the figure shows, by method.
        subjects: How many test subjects there are.
        ranked: There are enough subjects for a ranking and for intervals.
        best_interpolator: The one with the highest mean PSNR; empty if none was asked for.
        left_out: Subjects and scans that are missing or could not be read.
    """

    report: Path
    standings: tuple[Standing, ...]
    rows: tuple[Row, ...]
    panels: Mapping[str, Panel]
    subjects: int
    ranked: bool
    best_interpolator: str
    left_out: tuple[str, ...] = ()


def summarise(
    rows: Sequence[Row], *, report: Path, panels: Mapping[str, Panel], seed: int
) -> Summary:
    """Returns the standings. Scans of one subject are averaged first: it counts once."""
    methods = list(dict.fromkeys(row.method for row in rows))
    subjects = sorted({row.subject for row in rows})
    tables = {
        method: {
            metric: _per_subject([row for row in rows if row.method == method], metric, subjects)
            for metric in METRICS
        }
        for method in methods
    }
    best = max(
        (method for method in methods if method in INTERPOLATORS),
        key=lambda method: float(tables[method]["psnr_db"].mean()),
        default="",
    )
    standings = [
        _standing(method, tables[method], tables[best]["psnr_db"] if best else None, seed)
        for method in methods
    ]
    ranked = len(subjects) >= FEWEST_SUBJECTS
    if ranked:
        standings.sort(key=lambda standing: standing.scores["psnr_db"].mean, reverse=True)

    return Summary(
        report=report,
        standings=tuple(standings),
        rows=tuple(rows),
        panels=panels,
        subjects=len(subjects),
        ranked=ranked,
        best_interpolator=best,
    )


def _per_subject(
    rows: Sequence[Row], metric: str, subjects: Sequence[str]
) -> Float64[np.ndarray, " b"]:
    return np.array(
        [
            np.mean([getattr(row, metric) for row in rows if row.subject == subject])
            for subject in subjects
        ]
    )


def _standing(
    method: str,
    table: Mapping[str, NDArray[np.float64]],
    reference: NDArray[np.float64] | None,
    seed: int,
) -> Standing:
    psnr = table["psnr_db"]
    with np.errstate(invalid="ignore"):  # two perfect methods: infinity minus infinity
        gain = np.full_like(psnr, np.nan) if reference is None else psnr - reference
    return Standing(
        method=method,
        scores={metric: _estimate(values, seed) for metric, values in table.items()},
        gain_db=_estimate(gain, seed),
    )


def _estimate(values: Float64[np.ndarray, " b"], seed: int) -> Estimate:
    """Returns the mean and the percentile bootstrap interval over subjects."""
    if len(values) < FEWEST_SUBJECTS:
        return Estimate(mean=float(values.mean()))

    # One stream for all: every method is averaged over the same resampled subjects.
    generator = numpy_stream(seed, "evaluate", "bootstrap")
    picked = generator.integers(len(values), size=(RESAMPLES, len(values)))
    means = values[picked].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975], method="inverted_cdf")
    return Estimate(mean=float(values.mean()), low=float(low), high=float(high))
