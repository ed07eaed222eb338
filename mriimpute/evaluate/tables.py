"""The tables of an evaluation as files.

REPORT/metrics.csv     one row per scan and method
REPORT/distance.csv    the same by distance to the nearest acquired slice, and at edges
REPORT/regions.tsv     means over the structures of the label maps, if there are any
REPORT/curves.tsv      rank histograms and sparsification curves, if a method is uncertain
REPORT/traces.tsv      how methods were fitted to each scan, if one was
REPORT/comparisons.tsv each method against each reference, if there are enough subjects
REPORT/summary.json    means, intervals, comparisons, definitions, settings, versions
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from mriimpute.evaluate.definitions import meanings
from mriimpute.evaluate.regions import KINDS
from mriimpute.evaluate.result import METRICS
from mriimpute.evaluate.summary import MethodSummary, Summary
from mriimpute.files import write_json, write_tsv
from mriimpute.metrics.statistics import Comparison, Estimate
from mriimpute.provenance import versions

__all__ = ["write_tables"]

KEYS = ("subject", "scan", "method")


def write_tables(summary: Summary) -> None:
    """Writes the tables into the report folder."""
    rows = [dataclasses.asdict(row) for row in summary.results]
    bins, regions = (
        [_keys(row) | e for row in rows for e in row.pop(k)] for k in ("bins", "regions")
    )
    curves, traces = ([e for row in rows for e in f(row)] for f in (_curves, _traces))
    for row in rows:
        del row["curves"], row["trace"]
    write_tsv(summary.report / "metrics.csv", [_cells(row) for row in rows], delimiter=",")
    write_tsv(summary.report / "distance.csv", [_cells(row) for row in bins], delimiter=",")
    optional = {
        "regions": regions,
        "curves": curves,
        "traces": traces,
        "comparisons": _comparisons(summary),
    }
    for name, entries in optional.items():
        path = summary.report / f"{name}.tsv"
        path.unlink(missing_ok=True)
        if entries:
            write_tsv(path, [_cells(entry) for entry in entries])
    write_json(
        summary.report / "summary.json",
        {
            "subjects": summary.subjects,
            "scans": summary.scans,
            "left_out": list(summary.left_out),
            "failed": {method: list(scans) for method, scans in summary.failed.items()},
            "scans_tried": summary.scans_tried,
            "ranked": summary.ranked,
            "best_interpolator": summary.best_interpolator or None,
            "references": dict(summary.references),
            "methods": {
                standing.method: {"fingerprint": summary.fingerprints[standing.method]}
                | _entry(standing)
                for standing in summary.methods
            },
            "protocol": dataclasses.asdict(summary.protocol),
            "definitions": meanings(summary.protocol),
            "settings": dict(summary.settings),
            "versions": versions(),
        },
    )


def _entry(standing: MethodSummary) -> dict[str, Any]:
    return {
        "gain_db": _interval(standing.gain_db),
        "crps_ratio": _interval(standing.crps_ratio),
        **{metric: _interval(standing.scores[metric]) for metric in METRICS},
        "distance": {
            str(steps): {metric: _interval(estimate) for metric, estimate in scores.items()}
            for steps, scores in standing.distances.items()
        },
        "edges": {
            name: {metric: _interval(estimate) for metric, estimate in scores.items()}
            for name, scores in standing.edges.items()
        },
        "against": {role: _plain(found) for role, found in standing.comparisons.items()},
        "curves": None if standing.curves is None else dataclasses.asdict(standing.curves),
        "labels": {
            kind: {
                str(entry.label): {
                    "scans": entry.scans,
                    "dice": entry.dice,
                    "volume_error_percent": entry.volume_error_percent,
                }
                | dataclasses.asdict(entry.scores)
                for entry in standing.labels
                if entry.kind == kind
            }
            for kind in KINDS
        },
    }


def _keys(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in KEYS}


def _curves(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the points of the curves of a row."""
    curves = row["curves"] or {}
    x_of = {"ranks": range(len(curves.get("ranks", ())))}
    for name in ("ranks", "remaining", "oracle"):
        for x, y in zip(
            x_of.get(name, curves.get("removed", ())), curves.get(name, ()), strict=True
        ):
            yield _keys(row) | {"curve": name, "x": x, "y": y}


def _traces(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the losses of a row whose method was fitted to its scan."""
    trace = row["trace"]
    if trace is None:
        return
    held_out = trace["held_out"] or (math.nan,) * len(trace["fitted"])
    for count, (fitted, held) in enumerate(zip(trace["fitted"], held_out, strict=True), start=1):
        step = count * trace["every"]
        stopped = {"stopped_at": trace["stopped_at"]}
        yield _keys(row) | {"step": step, "fitted": fitted, "held_out": held} | stopped


def _comparisons(summary: Summary) -> list[dict[str, Any]]:
    return [
        {
            "method": standing.method,
            "role": role,
            "reference": found.reference,
            "mean_db": found.mean.mean,
            "mean_low": found.mean.low,
            "mean_high": found.mean.high,
            "median_db": found.median.mean,
            "median_low": found.median.low,
            "median_high": found.median.high,
            "p": found.p,
            "p_alone": found.p_alone,
            "wins": found.wins,
            "subjects": found.subjects,
        }
        for standing in summary.methods
        for role, found in standing.comparisons.items()
    ]


def _plain(found: Comparison) -> dict[str, Any]:
    ends = {"mean_db": _interval(found.mean), "median_db": _interval(found.median)}
    rest = ("reference", "p", "p_alone", "wins", "subjects")
    return {name: getattr(found, name) for name in rest} | ends


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _cell(value) for key, value in row.items()}


def _cell(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.6g}"


def _interval(estimate: Estimate) -> dict[str, float]:
    return {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}
