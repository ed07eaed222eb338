"""The tables of an evaluation as files.

REPORT/metrics.csv     one row per scan and method
REPORT/distance.csv    the same by distance to the nearest acquired slice, and at edges
REPORT/regions.tsv     means over the structures of the label maps, if there are any
REPORT/volumes.tsv     volumes of tissues and structures, in mean and draws
REPORT/curves.tsv      rank histograms and sparsification curves, if a method is uncertain
REPORT/traces.tsv      how methods were fitted to each scan, if one was
REPORT/comparisons.tsv each method against each reference, if there are enough subjects
REPORT/summary.json    means, intervals, comparisons, definitions, settings, versions
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from mriimpute.evaluation.columns import FILES, KEYS, METRICS
from mriimpute.evaluation.definitions import meanings
from mriimpute.evaluation.regions import KINDS
from mriimpute.evaluation.summary import MethodSummary, Summary
from mriimpute.files import write_json, write_tsv
from mriimpute.metrics.statistics import Comparison, Estimate
from mriimpute.provenance import versions

__all__ = ["write_tables"]

Entry = Mapping[str, Any]
"""A row of a file, by column."""


def write_tables(summary: Summary) -> None:
    """Writes the tables into the report folder."""
    rows = [dataclasses.asdict(row) for row in summary.results]
    entries = {
        "metrics.csv": rows,
        "distance.csv": [_keys(row) | entry for row in rows for entry in row["bins"]],
        "regions.tsv": [_keys(row) | entry for row in rows for entry in row["regions"]],
        "volumes.tsv": [_keys(row) | entry for row in rows for entry in row["volumes"]],
        "curves.tsv": [entry for row in rows for entry in _curves(row)],
        "traces.tsv": [entry for row in rows for entry in _traces(row)],
        "comparisons.tsv": list(_comparisons(summary)),
    }
    for name, columns in FILES.items():
        path = summary.report / name
        if path.suffix == ".tsv" and not entries[name]:
            path.unlink(missing_ok=True)  # there was one of another evaluation
            continue
        cells = [{column: _cell(entry[column]) for column in columns} for entry in entries[name]]
        write_tsv(path, cells, delimiter="," if path.suffix == ".csv" else "\t")
    write_json(summary.report / "summary.json", _summary(summary))


def _summary(summary: Summary) -> dict[str, Any]:
    return {
        "subjects": summary.subjects,
        "scans": summary.scans,
        "left_out": list(summary.left_out),
        "failed": {method: list(scans) for method, scans in summary.failed.items()},
        "scans_tried": summary.scans_tried,
        "ranked": summary.ranked,
        "best_interpolator": summary.best_interpolator or None,
        "references": dict(summary.references),
        "methods": {
            scored.method: {"fingerprint": summary.fingerprints[scored.method]} | _method(scored)
            for scored in summary.methods
        },
        "protocol": dataclasses.asdict(summary.protocol),
        "definitions": meanings(summary.protocol),
        "settings": dict(summary.settings),
        "versions": versions(),
    }


def _method(scored: MethodSummary) -> dict[str, Any]:
    return {
        "gain_db": _interval(scored.gain_db),
        "crps_ratio": _interval(scored.crps_ratio),
        **{metric: _interval(scored.scores[metric]) for metric in METRICS},
        "distance": {str(steps): _intervals(of) for steps, of in scored.distances.items()},
        "edges": {name: _intervals(of) for name, of in scored.edges.items()},
        "against": {role: _comparison(of) for role, of in scored.comparisons.items()},
        "curves": None if scored.curves is None else dataclasses.asdict(scored.curves),
        "labels": {kind: _labels(scored, kind) for kind in KINDS},
    }


def _labels(scored: MethodSummary, kind: str) -> dict[str, Any]:
    return {
        str(entry.label): {
            "scans": entry.scans,
            "dice": entry.dice,
            "volume_error_percent": entry.volume_error_percent,
        }
        | dataclasses.asdict(entry.scores)
        for entry in scored.labels
        if entry.kind == kind
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    names = ("reference", "p", "p_alone", "wins", "subjects")
    return {name: getattr(comparison, name) for name in names} | {
        "mean_db": _interval(comparison.mean),
        "median_db": _interval(comparison.median),
    }


def _comparisons(summary: Summary) -> Iterator[Entry]:
    for scored in summary.methods:
        for role, comparison in scored.comparisons.items():
            mean, median = comparison.mean, comparison.median
            yield dataclasses.asdict(comparison) | {
                "method": scored.method,
                "role": role,
                "mean_db": mean.mean,
                "mean_low": mean.low,
                "mean_high": mean.high,
                "median_db": median.mean,
                "median_low": median.low,
                "median_high": median.high,
            }


def _curves(row: Entry) -> Iterator[Entry]:
    """Yields the points of the curves of a row."""
    curves = row["curves"] or {}
    ranks, removed = curves.get("ranks", ()), curves.get("removed", ())
    xs = {"ranks": range(len(ranks)), "remaining": removed, "oracle": removed}
    for name, x_of in xs.items():
        for x, y in zip(x_of, curves.get(name, ()), strict=True):
            yield _keys(row) | {"curve": name, "x": x, "y": y}


def _traces(row: Entry) -> Iterator[Entry]:
    """Yields the losses of a row whose method was fitted to its scan."""
    trace = row["trace"]
    if trace is None:
        return
    held_out = trace["held_out"] or (math.nan,) * len(trace["fitted"])
    for count, losses in enumerate(zip(trace["fitted"], held_out, strict=True), start=1):
        yield _keys(row) | {
            "step": count * trace["every"],
            "fitted": losses[0],
            "held_out": losses[1],
            "stopped_at": trace["stopped_at"],
        }


def _keys(row: Entry) -> dict[str, Any]:
    return {key: row[key] for key in KEYS}


def _cell(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.6g}"


def _intervals(scores: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    return {metric: _interval(estimate) for metric, estimate in scores.items()}


def _interval(estimate: Estimate) -> dict[str, float]:
    return {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}
