"""Which numbers stand in which table or file of an evaluation, in order, by name of the field."""

from mriimpute.evaluation.bins import BIN_METRICS
from mriimpute.evaluation.definitions import DEFINITIONS

__all__ = [
    "ACCURACY",
    "BY_DISTANCE",
    "FILES",
    "KEYS",
    "METRICS",
    "PRINTED",
    "STRUCTURES",
    "UNCERTAINTY",
    "VOLUMES",
]

METRICS = tuple(
    definition.name
    for definition in DEFINITIONS.values()
    if definition.digits is not None and definition.name not in ("gain_db", "crps_ratio")
)
"""The scores of a method on a scan, in the order of `summary.json`."""

PRINTED = (
    *("ssim", "crps_percent", "crps_ratio", "coverage90", "spread_skill", "draw_gap_db"),
    *("carried_coverage90", "seconds"),
)
"""What fits beside each other on a terminal, after the PSNR."""

ACCURACY = (
    *("ssim", "nrmse", "mse", "mae_percent", "hfen", "gradient_psnr_db", "psnr_edge_db"),
    *("psnr_flat_db", "stripes", "tissue_dice", "seconds"),
)
UNCERTAINTY = (
    *("crps_percent", "crps_ratio", "energy_percent", "nll_std", "nll_draws", "elbo"),
    *("coverage50", "coverage80", "coverage90", "coverage95", "coverage90_std", "spread_skill"),
    *("stripes_draw", "rank_distance", "draw_gap_db", "ause", "seconds_per_draw"),
)
STRUCTURES = (
    "structure_dice",
    *("region_error_percent", "region_coverage90", "region_spread_skill", "region_error_stds"),
    *("carried_error_percent", "carried_coverage90", "carried_spread_skill", "carried_error_stds"),
)
VOLUMES = (
    *("tissue_volume_error_percent", "tissue_volume_draws_percent", "tissue_volume_coverage90"),
    *("tissue_volume_coverage90_draws", "tissue_volume_error_stds"),
    *("structure_volume_error_percent", "structure_volume_draws_percent"),
    *("structure_volume_coverage90", "structure_volume_error_stds"),
)
"""The tables of the page."""

BY_DISTANCE = ("psnr_db", "crps_percent", "coverage90")
"""What the page draws against the distance to the nearest acquired slice."""

KEYS = ("subject", "scan", "method")
"""Of a row of the files that have one per scan and method, or several."""

FILES = {
    "metrics.csv": (
        *KEYS,
        *(metric for metric in METRICS if metric != "elbo"),
        *("draws", "voxels", "data_range", "elbo"),
    ),
    "distance.csv": (*KEYS, "kind", "steps", "mm", "voxels", *BIN_METRICS),
    "regions.tsv": (
        *KEYS,
        *("kind", "label", "voxels", "truth", "mean", "low", "high", "std"),
        *("dice", "volume_error_percent"),
    ),
    "volumes.tsv": (
        *KEYS,
        *("kind", "label", "truth", "mean", "draws"),
        *("within", "between", "total", "dof", "low", "high"),
    ),
    "curves.tsv": (*KEYS, "curve", "x", "y"),
    "traces.tsv": (*KEYS, "step", "fitted", "held_out", "stopped_at"),
    "comparisons.tsv": (
        *("method", "role", "reference", "mean_db", "mean_low", "mean_high"),
        *("median_db", "median_low", "median_high", "p", "p_alone", "wins", "subjects"),
    ),
}
"""The columns of each file."""
