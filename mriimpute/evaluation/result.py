"""One result: the scores of one method on one scan.

Errors are in percent of the data range, so that scans of any intensity scale can be averaged.
A score is NaN where a method does not give what it takes: an interpolator has no interval.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mriimpute.evaluation.bins import Bin
from mriimpute.evaluation.curves import Curves
from mriimpute.evaluation.regions import Region
from mriimpute.evaluation.volumes import MeasuredVolume
from mriimpute.methods.base import Trace

__all__ = ["Result", "result_from_json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The scores of one method on one scan; `definitions.DEFINITIONS` says what each is.

    Attributes:
        subject: BIDS label, `sub-01`.
        scan: Name of the scan.
        method: Name in the tables.
        draws: How many were scored; zero for a method that gives none.
        voxels: How many were scored.
        data_range: Intensity that counts as the whole range.
        bins: Scores by distance, by offset, and at edges.
        regions: Means over structures; none without a label map.
        volumes: Of tissues, and of structures where there is a label map.
        curves: Rank histogram and sparsification; None for a method that states no uncertainty.
        trace: How the method was fitted to this scan; None where nothing is fitted step by step.
    """

    subject: str
    scan: str
    method: str
    psnr_db: float
    ssim: float
    mse: float
    nrmse: float
    mae_percent: float
    rmse_percent: float
    hfen: float
    gradient_psnr_db: float
    psnr_edge_db: float
    psnr_flat_db: float
    stripes: float
    stripes_draw: float
    tissue_dice: float
    crps_percent: float
    energy_percent: float
    nll_std: float
    nll_draws: float
    coverage50: float
    coverage80: float
    coverage90: float
    coverage95: float
    coverage50_std: float
    coverage80_std: float
    coverage90_std: float
    coverage95_std: float
    spread_skill: float
    rank_distance: float
    draw_gap_db: float
    ause: float
    region_coverage90: float
    region_error_percent: float
    region_spread_skill: float
    region_error_stds: float
    carried_coverage90: float
    carried_error_percent: float
    carried_spread_skill: float
    carried_error_stds: float
    structure_dice: float
    tissue_volume_error_percent: float
    tissue_volume_draws_percent: float
    tissue_volume_coverage90: float
    tissue_volume_coverage90_draws: float
    tissue_volume_error_stds: float
    structure_volume_error_percent: float
    structure_volume_draws_percent: float
    structure_volume_coverage90: float
    structure_volume_coverage90_draws: float
    structure_volume_error_stds: float
    seconds: float
    seconds_per_draw: float
    draws: int
    voxels: int
    data_range: float
    bins: tuple[Bin, ...]
    regions: tuple[Region, ...]
    volumes: tuple[MeasuredVolume, ...]
    elbo: float = math.nan  # absent in results of earlier versions
    curves: Curves | None = None
    trace: Trace | None = None


def result_from_json(stored: Mapping[str, Any]) -> Result:
    """Returns the result that `dataclasses.asdict` made plain and JSON has carried."""
    curves, trace = stored.get("curves"), stored.get("trace")
    return Result(
        **{
            **stored,
            "bins": tuple(Bin(**entry) for entry in stored["bins"]),
            "regions": tuple(Region(**entry) for entry in stored["regions"]),
            "volumes": tuple(MeasuredVolume(**entry) for entry in stored["volumes"]),
            "curves": None if curves is None else Curves(**_with_tuples(curves)),
            "trace": None if trace is None else Trace(**_with_tuples(trace)),
        }
    )


def _with_tuples(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in stored.items()}
