"""From rows to standings: means over subjects, with their uncertainty."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from mriimpute.evaluate.bins import BIN_METRICS, EDGE_STEPS, Bin
from mriimpute.evaluate.columns import METRICS
from mriimpute.evaluate.curves import Curves, mean_of
from mriimpute.evaluate.methods import PACKAGE
from mriimpute.evaluate.panels import Panel
from mriimpute.evaluate.protocol import PAPER, Protocol
from mriimpute.evaluate.regions import REGION_METRICS, Region, RegionScores, score_regions
from mriimpute.evaluate.result import Row
from mriimpute.interpolation import Kind
from mriimpute.metrics.statistics import FEWEST_SUBJECTS, Comparison, Estimate, compare, estimates

__all__ = [
    "FEWEST_SUBJECTS",
    "INTERPOLATORS",
    "Estimate",
    "LabelStanding",
    "Standing",
    "Summary",
    "summarise",
]

INTERPOLATORS: tuple[str, ...] = get_args(Kind)
EDGES = {steps: name for name, steps in EDGE_STEPS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelStanding:
    """One method on one structure, over all scans that have it.

    Attributes:
        kind: How its voxels are chosen, one of `regions.KINDS`.
        label: Its integer in the label maps.
        scans: How many have it.
        scores: Of its means, pooled over these scans.
        dice: Mean over these scans.
        volume_error_percent: Mean over these scans of its size, either sign counted alike.
    """

    kind: str
    label: int
    scans: int
    scores: RegionScores
    dice: float = math.nan
    volume_error_percent: float = math.nan


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
        edges: Mean over subjects of each metric, at edges of the truth ("edge") and off them
            ("flat").
        curves: Mean over scans; None without any.
        against: Comparison with the method that plays a role, by role; see `Summary.references`.
            Empty for too few subjects, and without the method itself.
    """

    method: str
    scores: Mapping[str, Estimate]
    gain_db: Estimate
    crps_ratio: Estimate
    distances: Mapping[int, Mapping[str, Estimate]]
    labels: tuple[LabelStanding, ...]
    edges: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    curves: Curves | None = None
    against: Mapping[str, Comparison] = field(default_factory=dict)


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
        failed: Scans on which a method failed, by method; only of those that did. Standings are
            those of scans on which none of their methods failed.
        scans_tried: How many every method was tried on.
        split: Who was scored: "test", another split, or "all".
        references: Which method plays which role: "best" has the highest mean PSNR,
            "interpolator" the highest among interpolators, "default" comes with the package.
        settings: What every row depends on.
        fingerprints: Checksum of the weights, or version, by method.
        protocol: What was asked, and what to know before the numbers are believed.
        worst: Panels of the scan where `best_other` gains least over the best interpolator.
    """

    report: Path
    standings: tuple[Standing, ...]
    rows: tuple[Row, ...]
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
    def whom(self) -> str:
        """Says who was scored, "18 test subjects"."""
        kind = "" if self.split == "all" else f"{self.split} "
        return f"{self.subjects} {kind}subject{'s' if self.subjects != 1 else ''}"

    @property
    def scans(self) -> int:
        """How many every method is compared on."""
        return len({row.scan for row in self.rows})

    @property
    def not_compared(self) -> tuple[str, ...]:
        """Methods that failed on too many scans to have a standing."""
        compared = {standing.method for standing in self.standings}
        return tuple(method for method in self.failed if method not in compared)

    def failures(self, method: str) -> str:
        """Returns on how many scans a method failed, "2 of 18"; empty where on none."""
        count = len(self.failed.get(method, ()))
        return f"{count} of {self.scans_tried}" if count else ""

    @property
    def best_other(self) -> str:
        """The method with the highest mean PSNR that is no interpolator; empty without one."""
        return self._highest(s for s in self.standings if s.method not in INTERPOLATORS)

    @property
    def beside_best(self) -> str:
        """What pictures show beside the best interpolator: the best of the others.

        That is `best_other`, or another interpolator where there is nothing else.
        """
        others = (s for s in self.standings if s.method != self.best_interpolator)
        return self.best_other or self._highest(others)

    def _highest(self, standings: Iterable[Standing]) -> str:
        best = max(standings, key=lambda s: s.scores["psnr_db"].mean, default=None)
        return best.method if best else ""


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
    references = _references({method: table["psnr_db"] for method, table in tables.items()})
    best = references.get("interpolator", "")
    against = {
        role: compare({m: table["psnr_db"] for m, table in tables.items()}, reference, seed)
        for role, reference in references.items()
    }
    standings = [
        replace(
            _standing(method, own[method], tables[method], tables[best] if best else None, seed),
            against={role: found[method] for role, found in against.items() if method in found},
        )
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
        references=references,
    )


def _references(psnr: Mapping[str, Float64[np.ndarray, " b"]]) -> dict[str, str]:
    """Returns which method plays which role; a role that none can play is left out.

    Of fewer than five subjects none is the best: that would be a ranking.
    """

    def highest(methods: Iterable[str]) -> str:
        return max(methods, key=lambda method: float(psnr[method].mean()), default="")

    roles = {
        "best": highest(psnr) if _enough(psnr) else "",
        "interpolator": highest(method for method in psnr if method in INTERPOLATORS),
        "default": PACKAGE if PACKAGE in psnr else "",
    }
    return {role: method for role, method in roles.items() if method}


def _enough(scores: Mapping[str, Float64[np.ndarray, " b"]]) -> bool:
    return all(len(values) >= FEWEST_SUBJECTS for values in scores.values())


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
    found = estimates({**table, "gain_db": gain, "crps_ratio": ratio}, seed)
    curves = [row.curves for row in rows if row.curves is not None]
    return Standing(
        method=method,
        gain_db=found.pop("gain_db"),
        crps_ratio=found.pop("crps_ratio"),
        scores=found,
        distances=_of_bins(rows, seed, "distance"),
        edges={EDGES[steps]: found for steps, found in _of_bins(rows, seed, "edge").items()},
        labels=_labels(rows),
        curves=mean_of(curves) if curves else None,
    )


def _of_bins(rows: Sequence[Row], seed: int, kind: str) -> dict[int, dict[str, Estimate]]:
    """Returns the estimates of each bin of a kind, by steps."""
    bins: dict[int, list[tuple[str, Bin]]] = {}
    for row in rows:
        for b in row.bins:
            if b.kind == kind:
                bins.setdefault(b.steps, []).append((row.subject, b))
    scores = {
        (steps, metric): _per_subject([(name, getattr(b, metric)) for name, b in members])
        for steps, members in sorted(bins.items())
        for metric in BIN_METRICS
    }
    found = estimates(scores, seed)
    return {
        steps: {metric: found[steps, metric] for metric in BIN_METRICS} for steps in sorted(bins)
    }


def _labels(rows: Sequence[Row]) -> tuple[LabelStanding, ...]:
    pairs = [(region, row.data_range) for row in rows for region in row.regions]
    grouped: dict[tuple[str, int], list[tuple[Region, float]]] = {}
    for region, data_range in pairs:
        grouped.setdefault((region.kind, region.label), []).append((region, data_range))
    return tuple(
        LabelStanding(
            kind=kind,
            label=label,
            scans=len(members),
            scores=score_regions(*zip(*members, strict=True)),
            dice=_mean([region.dice for region, _ in members]),
            volume_error_percent=_mean([abs(r.volume_error_percent) for r, _ in members]),
        )
        for (kind, label), members in sorted(grouped.items())
    )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan
