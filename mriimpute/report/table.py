"""The methods of an evaluation as a table of text, and how its numbers are written."""

import math
from typing import NamedTuple

from mriimpute.evaluation import Comparison, Estimate, MethodSummary, Summary
from mriimpute.evaluation.columns import PRINTED
from mriimpute.evaluation.definitions import DEFINITIONS

__all__ = ["NO_NUMBER", "Table", "advice_of", "mean_of", "number", "p_value", "table_of"]

SMALLEST_P = 0.001  # that is printed as a number
NO_NUMBER = "-"
FAILED = "failed on"  # so many of so many scans


class Table(NamedTuple):
    """Text to be laid out: one cell per header in each row."""

    headers: list[str]
    rows: list[list[str]]
    title: str


def table_of(summary: Summary) -> Table:
    """Returns the methods: means over subjects, PSNR with its 95 % interval.

    A column is left out where no method has a number for it. Methods that failed too often to be
    compared stand at the end.

    All scores are in `metrics.csv`, the definition of each in `summary.json`.
    """
    baseline = summary.best_interpolator or "interpolation"
    tests = ["p", "p (best)"] if summary.ranked else []
    scores = [DEFINITIONS[metric].column for metric in PRINTED]
    headers = ["method", DEFINITIONS["psnr_db"].column, f"dB over {baseline}", *tests, *scores]
    rows = [
        [
            *_row(scored, tested=bool(tests)),
            summary.failures(scored.method) or NO_NUMBER,
        ]
        for scored in summary.methods
    ]
    empty = [NO_NUMBER] * (len(headers) - 1)
    rows += [[method, *empty, summary.failures(method)] for method in summary.not_compared]
    headers.append(FAILED)
    kept = [n for n in range(len(headers)) if any(row[n] != NO_NUMBER for row in rows)]
    return Table([headers[n] for n in kept], [[r[n] for n in kept] for r in rows], _title(summary))


def advice_of(summary: Summary) -> str:
    """Returns what to use mean and draws for, with numbers; empty where no method has draws.

    The method is the best one that has draws, the advice follows its volumes of tissues.
    """
    drawn = [s for s in summary.methods if math.isfinite(_volume_error(s, by_draws=True))]
    best = max(drawn, key=lambda s: s.scores["psnr_db"].mean, default=None)
    if best is None:
        return ""
    in_mean, by_draws = (_volume_error(best, by_draws=draws) for draws in (False, True))
    measure = "every draw, pooled (mriimpute.pool)" if by_draws < in_mean else "the mean"
    form = DEFINITIONS["tissue_volume_error_percent"].form()
    errors = [
        f"{in_mean:{form}} % in the mean of {best.method}",
        f"{by_draws:{form}} % pooled over its draws",
        *(
            f"{_volume_error(s):{form}} % with {s.method}"
            for s in summary.methods
            if s.method == summary.best_interpolator
        ),
    ]
    return (
        f"By eye and for PSNR: the mean. Volumes of tissues: {measure}. Their error: "
        f"{', '.join(errors)}."
    )


def mean_of(scored: MethodSummary, metric: str) -> float:
    """Returns the mean of a score over subjects; NaN where the method has none."""
    if metric == "crps_ratio":
        return scored.crps_ratio.mean
    estimate = scored.scores.get(metric)
    return math.nan if estimate is None else estimate.mean


def number(value: float, form: str) -> str:
    """Returns a number as text, and a dash for NaN."""
    return NO_NUMBER if math.isnan(value) else f"{value:{form}}"


def p_value(comparison: Comparison | None) -> str:
    """Returns p after Holm's correction as text; a dash without a comparison."""
    if comparison is None or math.isnan(comparison.p):
        return NO_NUMBER
    return f"<{SMALLEST_P}" if comparison.p < SMALLEST_P else f"{comparison.p:.3f}"


def _volume_error(scored: MethodSummary, *, by_draws: bool = False) -> float:
    return mean_of(scored, f"tissue_volume_{'draws' if by_draws else 'error'}_percent")


def _row(scored: MethodSummary, *, tested: bool) -> list[str]:
    p = [p_value(scored.comparisons.get(role)) for role in ("interpolator", "best")]
    psnr_db, gain_db = DEFINITIONS["psnr_db"], DEFINITIONS["gain_db"]
    return [
        scored.method,
        _with_interval(scored.scores["psnr_db"], psnr_db.form()),
        _with_interval(scored.gain_db, gain_db.form(sign=True)),
        *(p if tested else []),
        *(number(mean_of(scored, metric), DEFINITIONS[metric].form()) for metric in PRINTED),
    ]


def _title(summary: Summary) -> str:
    intervals = (
        "mean [95 % bootstrap interval over subjects], best PSNR first; p: Wilcoxon signed-rank "
        "over subjects, after Holm, against the best interpolator and against the best method"
        if summary.ranked
        else "mean; too few subjects for a ranking or intervals"
    )
    return f"{summary.protocol.title}, {summary.scored_subjects}: {intervals}"


def _with_interval(estimate: Estimate, form: str) -> str:
    mean = number(estimate.mean, form)
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return mean
    return f"{mean} [{estimate.low:{form}}, {estimate.high:{form}}]"
