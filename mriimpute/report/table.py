"""The standings of an evaluation as a table of text."""

import math
from typing import NamedTuple

from mriimpute.evaluate import Comparison, Estimate, MethodSummary, Summary

__all__ = ["Table", "table_of"]

SMALLEST_P = 0.001  # that is printed as a number
NONE = "-"  # where there is no number
FAILED = "failed on"  # so many of so many scans

COLUMNS = (
    ("SSIM", "ssim", 4),
    ("CRPS %", "crps_percent", 2),
    ("CRPS ratio", "crps_ratio", 2),
    ("cover 90", "coverage90", 3),
    ("spread/skill", "spread_skill", 2),
    ("draw gap dB", "draw_gap_db", 2),
    ("carried 90", "carried_coverage90", 3),
    ("s/scan", "seconds", 1),
)
"""What fits beside each other on a terminal; the files hold all scores."""


class Table(NamedTuple):
    """Text to be laid out: one cell per header in each row."""

    headers: list[str]
    rows: list[list[str]]
    title: str


def table_of(summary: Summary) -> Table:
    """Returns the standings: means over subjects, PSNR with its 95 % interval.

    A column is left out where no method has a number for it. Methods that failed too often to be
    compared stand at the end.

    All scores are in `metrics.csv`, the definition of each in `summary.json`.
    """
    best = summary.best_interpolator
    against = f"dB over {best}" if best else "dB over interpolation"
    tests = ["p", "p (best)"] if summary.ranked else []
    numbers = [against, *tests, *(header for header, _, _ in COLUMNS), FAILED]
    headers = ["method", "PSNR dB", *numbers]
    rows = [
        [*_row(standing, tested=bool(tests)), summary.failures(standing.method) or NONE]
        for standing in summary.methods
    ]
    rows += [[m, *(NONE for _ in numbers), summary.failures(m)] for m in summary.not_compared]
    kept = [n for n in range(len(headers)) if any(row[n] != NONE for row in rows)]
    return Table([headers[n] for n in kept], [[r[n] for n in kept] for r in rows], _title(summary))


def _row(standing: MethodSummary, *, tested: bool) -> list[str]:
    means = {metric: estimate.mean for metric, estimate in standing.scores.items()}
    means["crps_ratio"] = standing.crps_ratio.mean
    p = [_p(standing.comparisons.get(role)) for role in ("interpolator", "best")]
    return [
        standing.method,
        _with_interval(standing.scores["psnr_db"], ".2f"),
        _with_interval(standing.gain_db, "+.2f"),
        *(p if tested else []),
        *(_text(means[metric], f".{digits}f") for _, metric, digits in COLUMNS),
    ]


def _title(summary: Summary) -> str:
    intervals = (
        "mean [95 % bootstrap interval over subjects], best PSNR first; p: Wilcoxon signed-rank "
        "over subjects, after Holm, against the best interpolator and against the best method"
        if summary.ranked
        else "mean; too few subjects for a ranking or intervals"
    )
    return f"{summary.protocol.title}, {summary.scored_subjects}: {intervals}"


def _p(found: Comparison | None) -> str:
    if found is None:
        return NONE
    return "<0.001" if found.p < SMALLEST_P else f"{found.p:.3f}"


def _with_interval(estimate: Estimate, form: str) -> str:
    mean = _text(estimate.mean, form)
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return mean
    return f"{mean} [{estimate.low:{form}}, {estimate.high:{form}}]"


def _text(value: float, form: str) -> str:
    return NONE if math.isnan(value) else f"{value:{form}}"
