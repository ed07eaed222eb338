"""Methods over all subjects: means of their results, with intervals."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from mriimpute.evaluation.bins import BIN_METRICS, EDGE_STEPS, Bin
from mriimpute.evaluation.columns import METRICS
from mriimpute.evaluation.curves import Curves, mean_of
from mriimpute.evaluation.methods import PACKAGE
from mriimpute.evaluation.panels import Panel
from mriimpute.evaluation.protocol import PAPER, Protocol
from mriimpute.evaluation.regions import (
    REGION_METRICS,
    Region,
    RegionScores,
    finite_mean,
    score_regions,
)
from mriimpute.evaluation.result import Result
from mriimpute.interpolation import Kind
from mriimpute.metrics.statistics import MIN_SUBJECTS, Comparison, Estimate, compare, estimates

__all__ = [
    "INTERPOLATORS",
    "MIN_SUBJECTS",
    "Estimate",
    "LabelSummary",
    "MethodSummary",
    "Summary",
    "summarise",
]

INTERPOLATORS: tuple[str, ...] = get_args(Kind)
EDGES = {steps: name for name, steps in EDGE_STEPS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSummary:
    """One method on one structure, over all scans that have it.

    Attributes:
        kind: How its voxels are chosen, one of `regions.KINDS`.
        label: Its integer in the label maps.
        scans: How many have it.
        scores: Of its means, pooled over these scans.
        dice: Mean over these scans.
        volume_error_percent: Mean over these scans of the absolute error of its volume.
    """

    kind: str
    label: int
    scans: int
    scores: RegionScores
    dice: float = math.nan
    volume_error_percent: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodSummary:
    """One method over all subjects.

    Attributes:
        method: Its name in the tables.
        scores: Mean over subjects of each metric.
        gain_db: PSNR minus that of the best interpolator, subject by subject.
        crps_ratio: CRPS over the MAE of the best interpolator, subject by subject.
        distances: Mean over subjects of each metric, by steps to the nearest acquired slice.
        labels: Each structure of the label maps.
        edges: Mean over subjects of each metric, at edges of the truth ("edge") and off them
            ("flat").
        curves: Mean over scans; None without any.
        comparisons: With the method that plays a role, by role; see `Summary.references`. Empty
            for too few subjects, and without the method itself.
    """

    method: str
    scores: Mapping[str, Estimate]
    gain_db: Estimate
    crps_ratio: Estimate
    distances: Mapping[int, Mapping[str, Estimate]]
    labels: tuple[LabelSummary, ...]
    edges: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    curves: Curves | None = None
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Summary:
    """The result of an evaluation.

    Attributes:
        report: The folder that holds it.
        methods: Best PSNR first if `ranked`, else in the order asked for.
        results: One per scan and method.
        panels: What the figure shows, by method.
        subjects: How many were scored.
        ranked: There are enough subjects for a ranking and for intervals.
        best_interpolator: The one with the highest mean PSNR; empty if none was asked for.
        left_out: Subjects and scans that are missing or could not be read.
        failed: Scans on which a method failed, by method; only of those that did. `methods` are
            summaries of the scans on which none of them failed.
        scans_tried: How many every method was tried on.
        split: Who was scored: "test", another split, or "all".
        references: Which method plays which role: "best" has the highest mean PSNR,
            "interpolator" the highest among interpolators, "default" comes with the package.
        settings: What every result depends on.
        fingerprints: Checksum of the weights, or version, by method.
        protocol: How the scans were scored, and what to know before the numbers are believed.
        worst: Panels of the scan where `best_non_interpolator` gains least over the best
            interpolator.
    """

    report: Path
    methods: tuple[MethodSummary, ...]
    results: tuple[Result, ...]
    panels: Mapping[str, Panel]
    subjects: int
    ranked: bool
    best_interpolator: str
    left_out: tuple[str, ...] = ()
    failed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scans_tried: int = 0
    split: str = "test"
    references: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str | int] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    worst: Mapping[str, Panel] = field(default_factory=dict)
    protocol: Protocol = PAPER

    @property
    def scored_subjects(self) -> str:
        """Says who was scored, "18 test subjects"."""
        split = "" if self.split == "all" else f"{self.split} "
        return f"{self.subjects} {split}subject{'s' if self.subjects != 1 else ''}"

    @property
    def scans(self) -> int:
        """How many every method is compared on."""
        return len({result.scan for result in self.results})

    @property
    def not_compared(self) -> tuple[str, ...]:
        """Methods that failed on too many scans to have a summary."""
        compared = {summary.method for summary in self.methods}
        return tuple(method for method in self.failed if method not in compared)

    def failures(self, method: str) -> str:
        """Returns on how many scans a method failed, "2 of 18"; empty where on none."""
        count = len(self.failed.get(method, ()))
        return f"{count} of {self.scans_tried}" if count else ""

    @property
    def best_non_interpolator(self) -> str:
        """The method with the highest mean PSNR that is no interpolator; empty without one."""
        return _highest_psnr(m for m in self.methods if m.method not in INTERPOLATORS)

    @property
    def shown_method(self) -> str:
        """What pictures show beside the best interpolator: the best of the others.

        That is `best_non_interpolator`, or a second interpolator where there is nothing else.
        """
        others = (m for m in self.methods if m.method != self.best_interpolator)
        return self.best_non_interpolator or _highest_psnr(others)


def summarise(
    results: Sequence[Result], *, report: Path, panels: Mapping[str, Panel], seed: int
) -> Summary:
    """Returns the summary of each method. Scans of one subject are averaged first."""
    methods = list(dict.fromkeys(result.method for result in results))
    by_method = {name: [r for r in results if r.method == name] for name in methods}
    tables = {
        name: {metric: _per_subject(_values(by_method[name], metric)) for metric in METRICS}
        for name in methods
    }
    psnr = {name: table["psnr_db"] for name, table in tables.items()}
    references = _references(psnr)
    comparisons = {role: compare(psnr, name, seed) for role, name in references.items()}
    best = references.get("interpolator", "")
    summaries = [
        replace(
            _summary(name, by_method[name], tables[name], tables[best] if best else None, seed),
            comparisons={role: of[name] for role, of in comparisons.items() if name in of},
        )
        for name in methods
    ]
    subjects = len({result.subject for result in results})
    if subjects >= MIN_SUBJECTS:
        summaries.sort(key=lambda summary: summary.scores["psnr_db"].mean, reverse=True)

    return Summary(
        report=report,
        methods=tuple(summaries),
        results=tuple(results),
        panels=panels,
        subjects=subjects,
        ranked=subjects >= MIN_SUBJECTS,
        best_interpolator=best,
        references=references,
    )


def _highest_psnr(methods: Iterable[MethodSummary]) -> str:
    best = max(methods, key=lambda m: m.scores["psnr_db"].mean, default=None)
    return best.method if best else ""


def _references(psnr: Mapping[str, Float64[np.ndarray, " b"]]) -> dict[str, str]:
    """Returns which method plays which role; a role that none can play is left out.

    Of fewer than five subjects none is the best: that would be a ranking.
    """

    def highest(methods: Iterable[str]) -> str:
        return max(methods, key=lambda method: float(psnr[method].mean()), default="")

    enough = all(len(values) >= MIN_SUBJECTS for values in psnr.values())
    roles = {
        "best": highest(psnr) if enough else "",
        "interpolator": highest(method for method in psnr if method in INTERPOLATORS),
        "default": PACKAGE if PACKAGE in psnr else "",
    }
    return {role: method for role, method in roles.items() if method}


def _values(results: Sequence[Result], metric: str) -> list[tuple[str, float]]:
    """Returns subject and score of each scan; a scan without regions has no score for them."""
    scored = [r for r in results if r.regions] if metric in REGION_METRICS else results
    return [(result.subject, getattr(result, metric)) for result in scored]


def _per_subject(values: Sequence[tuple[str, float]]) -> Float64[np.ndarray, " b"]:
    scans: dict[str, list[float]] = {}
    for subject, value in sorted(values, key=lambda pair: pair[0]):
        scans.setdefault(subject, []).append(value)
    return np.array([np.mean(scores) for scores in scans.values()], np.float64)


def _summary(
    method: str,
    results: Sequence[Result],
    table: Mapping[str, NDArray[np.float64]],
    best: Mapping[str, NDArray[np.float64]] | None,
    seed: int,
) -> MethodSummary:
    """Returns the summary of a method; `best` are the scores of the best interpolator."""
    unknown = np.full_like(table["psnr_db"], np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):  # the best interpolator may be perfect
        gain = unknown if best is None else table["psnr_db"] - best["psnr_db"]
        ratio = unknown if best is None else table["crps_percent"] / best["mae_percent"]
    scores = estimates({**table, "gain_db": gain, "crps_ratio": ratio}, seed)
    curves = [result.curves for result in results if result.curves is not None]
    return MethodSummary(
        method=method,
        gain_db=scores.pop("gain_db"),
        crps_ratio=scores.pop("crps_ratio"),
        scores=scores,
        distances=_bin_estimates(results, seed, "distance"),
        edges={EDGES[n]: means for n, means in _bin_estimates(results, seed, "edge").items()},
        labels=_label_summaries(results),
        curves=mean_of(curves) if curves else None,
    )


def _bin_estimates(
    results: Sequence[Result], seed: int, kind: str
) -> dict[int, dict[str, Estimate]]:
    """Returns the estimates of each bin of a kind, by steps."""
    bins: dict[int, list[tuple[str, Bin]]] = {}
    for result in results:
        for b in result.bins:
            if b.kind == kind:
                bins.setdefault(b.steps, []).append((result.subject, b))
    scores = {
        (steps, metric): _per_subject([(name, getattr(b, metric)) for name, b in members])
        for steps, members in sorted(bins.items())
        for metric in BIN_METRICS
    }
    means = estimates(scores, seed)
    return {
        steps: {metric: means[steps, metric] for metric in BIN_METRICS} for steps in sorted(bins)
    }


def _label_summaries(results: Sequence[Result]) -> tuple[LabelSummary, ...]:
    grouped: dict[tuple[str, int], list[tuple[Region, float]]] = {}
    for result in results:
        for region in result.regions:
            grouped.setdefault((region.kind, region.label), []).append((region, result.data_range))
    return tuple(
        LabelSummary(
            kind=kind,
            label=label,
            scans=len(members),
            scores=score_regions(*zip(*members, strict=True)),
            dice=finite_mean([region.dice for region, _ in members]),
            volume_error_percent=finite_mean([abs(r.volume_error_percent) for r, _ in members]),
        )
        for (kind, label), members in sorted(grouped.items())
    )
