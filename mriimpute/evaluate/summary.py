"""From rows to standings: means over subjects, with their uncertainty."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from mriimpute.evaluate.bins import BIN_METRICS
from mriimpute.evaluate.panels import Panel
from mriimpute.evaluate.regions import REGION_METRICS, Region, RegionScores, score_regions
from mriimpute.evaluate.scores import METRICS, Row
from mriimpute.seeds import numpy_stream

__all__ = ["INTERPOLATORS", "Estimate", "LabelStanding", "Standing", "Summary", "summarise"]

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
class LabelStanding:
    """One method on one structure, over all scans that have it.

    Attributes:
        kind: How its voxels are chosen, one of `regions.KINDS`.
        label: Its integer in the label maps.
        scans: How many have it.
        scores: Of its means, pooled over these scans.
    """

    kind: str
    label: int
    scans: int
    scores: RegionScores


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One method over all subjects.

    Attributes:
        method: Its name.
        scores: Mean over subjects of each metric.
        gain_db: PSNR minus that of the best interpolator, subject by subject.
        crps_ratio: CRPS over the MAE of the best interpolator, subject by subject.
        distances: Mean over subjects of each metric, by steps to the nearest acquired slice.
        labels: Each structure.
    """

    method: str
    scores: Mapping[str, Estimate]
    gain_db: Estimate
    crps_ratio: Estimate
    distances: Mapping[int, Mapping[str, Estimate]]
    labels: tuple[LabelStanding, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Summary:
    """The result of an evaluation.

    Attributes:
        report: The folder that holds it.
        standings: Best PSNR first if `ranked`, else in the order asked for.
        rows: One per scan and method.
        panels: What the figure shows, by method.
        subjects: How many there are.
        ranked: There are enough subjects for a ranking and for intervals.
        best_interpolator: The one with the highest mean PSNR; empty if none was asked for.
        left_out: Subjects and scans that are missing or could not be read.
        split: Who was scored: "test", another split, or "all".
    """

    report: Path
    standings: tuple[Standing, ...]
    rows: tuple[Row, ...]
    panels: Mapping[str, Panel]
    subjects: int
    ranked: bool
    best_interpolator: str
    left_out: tuple[str, ...] = ()
    split: str = "test"


def summarise(
    rows: Sequence[Row], *, report: Path, panels: Mapping[str, Panel], seed: int
) -> Summary:
    """Returns the standings. Scans of one subject are averaged first: it counts once."""
    methods = list(dict.fromkeys(row.method for row in rows))
    subjects = sorted({row.subject for row in rows})
    own = {method: [row for row in rows if row.method == method] for method in methods}
    tables = {
        method: {metric: _per_subject(_values(own[method], metric)) for metric in METRICS}
        for method in methods
    }
    best = max(
        (method for method in methods if method in INTERPOLATORS),
        key=lambda method: float(tables[method]["psnr_db"].mean()),
        default="",
    )
    standings = [
        _standing(method, own[method], tables[method], tables[best] if best else None, seed)
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


def _values(rows: Sequence[Row], metric: str) -> list[tuple[str, float]]:
    """Returns subject and score of each scan; a scan without regions has no score for them."""
    having = [row for row in rows if row.regions] if metric in REGION_METRICS else rows
    return [(row.subject, getattr(row, metric)) for row in having]


def _per_subject(values: Sequence[tuple[str, float]]) -> Float64[np.ndarray, " b"]:
    scans: dict[str, list[float]] = {}
    for subject, value in sorted(values, key=lambda pair: pair[0]):
        scans.setdefault(subject, []).append(value)
    return np.array([np.mean(scores) for scores in scans.values()], np.float64)


def _standing(
    method: str,
    rows: Sequence[Row],
    table: Mapping[str, NDArray[np.float64]],
    best: Mapping[str, NDArray[np.float64]] | None,
    seed: int,
) -> Standing:
    unknown = np.full_like(table["psnr_db"], np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):  # the best interpolator may be perfect
        gain = unknown if best is None else table["psnr_db"] - best["psnr_db"]
        ratio = unknown if best is None else table["crps_percent"] / best["mae_percent"]
    return Standing(
        method=method,
        scores={metric: _estimate(values, seed) for metric, values in table.items()},
        gain_db=_estimate(gain, seed),
        crps_ratio=_estimate(ratio, seed),
        distances=_distances(rows, seed),
        labels=_labels(rows),
    )


def _distances(rows: Sequence[Row], seed: int) -> dict[int, dict[str, Estimate]]:
    bins = [(row.subject, b) for row in rows for b in row.bins if b.kind == "distance"]
    return {
        steps: {
            metric: _estimate(
                _per_subject([(name, getattr(b, metric)) for name, b in bins if b.steps == steps]),
                seed,
            )
            for metric in BIN_METRICS
        }
        for steps in sorted({b.steps for _, b in bins})
    }


def _labels(rows: Sequence[Row]) -> tuple[LabelStanding, ...]:
    pairs = [(region, row.data_range) for row in rows for region in row.regions]
    grouped: dict[tuple[str, int], list[tuple[Region, float]]] = {}
    for region, data_range in pairs:
        grouped.setdefault((region.kind, region.label), []).append((region, data_range))
    standings = []
    for (kind, label), members in sorted(grouped.items()):
        scores = score_regions(*zip(*members, strict=True))
        standings.append(LabelStanding(kind=kind, label=label, scans=len(members), scores=scores))
    return tuple(standings)


def _estimate(values: Float64[np.ndarray, " b"], seed: int) -> Estimate:
    """Returns the mean and the percentile bootstrap interval over subjects."""
    if len(values) < FEWEST_SUBJECTS:
        return Estimate(mean=float(values.mean()) if len(values) else math.nan)

    # One stream for all: every method is averaged over the same resampled subjects.
    generator = numpy_stream(seed, "evaluate", "bootstrap")
    picked = generator.integers(len(values), size=(RESAMPLES, len(values)))
    means = values[picked].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975], method="inverted_cdf")
    return Estimate(mean=float(values.mean()), low=float(low), high=float(high))
