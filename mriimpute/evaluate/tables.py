"""The tables of an evaluation as files, and what each of their columns means.

REPORT/metrics.csv     one row per scan and method
REPORT/distance.csv    the same by distance to the nearest acquired slice
REPORT/regions.tsv     means over the structures of the label maps, if there are any
REPORT/summary.json    means, intervals, definitions, settings, versions
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from mriimpute.evaluate.regions import FEWEST_VOXELS, KINDS
from mriimpute.evaluate.scores import METRICS
from mriimpute.evaluate.summary import RESAMPLES, Estimate, Standing, Summary
from mriimpute.files import write_json, write_tsv
from mriimpute.provenance import versions

__all__ = ["DEFINITIONS", "write_tables"]

DEFINITIONS = {
    "region": "missing voxels inside the brain, from the first to the last acquired slice; "
    "acquired voxels and background are never counted",
    "data_range": "99.5th percentile of the truth inside the brain, per scan, in input units; "
    "the range starts at zero and nothing is clipped",
    "percent": "errors are in percent of the data range",
    "psnr_db": "20 log10(data range / RMSE) of the mean, per scan, in dB",
    "ssim": "3D SSIM map (that of scikit-image: Gaussian window of sigma 1.5 voxels, population "
    "covariance, K1 0.01, K2 0.03, data range as above) of the volumes with acquired voxels "
    "inserted, averaged over the region",
    "mae_percent": "mean absolute error of the mean",
    "rmse_percent": "root mean squared error of the mean",
    "crps_percent": "fair ensemble CRPS of the draws; the MAE for a method without draws",
    "coverage90": "share of voxels between the 5 % and 95 % quantiles of the draws, quantile p at "
    "rank p (K + 1): 0.90 for an exact sampler; empty for fewer than 19 draws or none",
    "coverage90_std": "share of voxels within 1.645 std of the mean; empty without a std",
    "spread_skill": "root mean variance of the draws / RMSE of the mean; ideally 1",
    "crps_ratio": "CRPS over the MAE of the best interpolator of this evaluation (that of the "
    "highest mean PSNR), paired by subject",
    "draw_gap_db": "how far the squared error of one draw lies above that of the mean; 3.01 for "
    "an ideal sampler, less: collapsed, more: over-dispersed",
    "regions": "structures of the label map beside the truth (integers above 0), those with at "
    f"least {FEWEST_VOXELS} voxels in the region above; only these voxels count. Scans without a "
    "label map are left out",
    "regions.tsv": "per structure: mean over its voxels of the truth, of the mean, and of each "
    "draw: of these the 5 % and 95 % quantiles (low, high; as for coverage90) and the standard "
    "deviation, in input units; empty without draws, low and high for fewer than 19",
    "region_coverage90": "share of structures whose true mean lies between low and high",
    "region_error_percent": "root mean square over structures of mean - truth",
    "region_spread_skill": "root mean square over structures of std / that of mean - truth; "
    "ideally 1",
    "region_error_stds": "root mean square over structures of (mean - truth) / std; for K exact "
    "draws sqrt((K - 1) / (K - 3)), 1.06 for 20; truth that is met exactly counts 0",
    "carried": "the same four scores where a voxel's label is that of the nearest acquired voxel "
    "along the slice axis. The label map was drawn on the truth, so what lies in a structure "
    "depends on what is missing, and exact draws need not cover its mean; here they do",
    "labels": "the four scores above of one structure, over the scans that have it instead of "
    "over structures; each scan's errors in percent of its data range",
    "seconds": "one imputation (mean and std), without reading and scoring",
    "seconds_per_draw": "one draw more",
    "gain_db": "PSNR minus that of the best interpolator of this evaluation, paired by subject",
    "distance": "voxels to the nearest acquired slice along the slice axis",
    "offset": "voxels from the acquired slice before, along the slice axis",
    "interval": f"95 % percentile bootstrap of the mean over subjects, {RESAMPLES} resamples; "
    "none below 5 subjects, nor a ranking",
}


def write_tables(
    summary: Summary, settings: Mapping[str, str | int], fingerprints: Mapping[str, str]
) -> None:
    """Writes the tables into the report folder.

    Args:
        summary: What to write.
        settings: What every row depended on.
        fingerprints: Checksum of the weights, or version, by method.
    """
    rows = [dataclasses.asdict(row) for row in summary.rows]
    bins = [
        {key: row[key] for key in ("subject", "scan", "method")} | entry
        for row in rows
        for entry in row.pop("bins")
    ]
    regions = [
        {key: row[key] for key in ("subject", "scan", "method")} | entry
        for row in rows
        for entry in row.pop("regions")
    ]
    write_tsv(summary.report / "metrics.csv", [_cells(row) for row in rows], delimiter=",")
    write_tsv(summary.report / "distance.csv", [_cells(row) for row in bins], delimiter=",")
    (summary.report / "regions.tsv").unlink(missing_ok=True)
    if regions:
        write_tsv(summary.report / "regions.tsv", [_cells(row) for row in regions])
    write_json(
        summary.report / "summary.json",
        {
            "subjects": summary.subjects,
            "scans": len({row.scan for row in summary.rows}),
            "left_out": list(summary.left_out),
            "ranked": summary.ranked,
            "best_interpolator": summary.best_interpolator or None,
            "methods": {
                standing.method: {"fingerprint": fingerprints[standing.method]} | _entry(standing)
                for standing in summary.standings
            },
            "definitions": DEFINITIONS,
            "settings": dict(settings),
            "versions": versions(),
        },
    )


def _entry(standing: Standing) -> dict[str, Any]:
    return {
        "gain_db": _interval(standing.gain_db),
        "crps_ratio": _interval(standing.crps_ratio),
        **{metric: _interval(standing.scores[metric]) for metric in METRICS},
        "distance": {
            str(steps): {metric: _interval(estimate) for metric, estimate in scores.items()}
            for steps, scores in standing.distances.items()
        },
        "labels": {
            kind: {
                str(entry.label): {"scans": entry.scans} | dataclasses.asdict(entry.scores)
                for entry in standing.labels
                if entry.kind == kind
            }
            for kind in KINDS
        },
    }


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _cell(value) for key, value in row.items()}


def _cell(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.6g}"


def _interval(estimate: Estimate) -> dict[str, float]:
    return {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}
