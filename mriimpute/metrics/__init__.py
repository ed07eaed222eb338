"""How good an imputation is: pure functions over the voxels of a region.

Point metrics take vectors, `image[region]`, so a voxel outside of the region cannot count. Draws
are stacked along the first axis. Sums are in float64, whatever comes in.

point            errors of one value a voxel
structure        what only neighbouring voxels show: similarity, fine detail, edges, stripes
tissue           tissue classes by intensity
ensemble         draws, voxel by voxel: CRPS, coverage, spread, ranks
likelihood       density of the truth
energy           draws, block by block: do neighbouring voxels err together as they should?
pooling          what is measured on each draw, pooled by Rubin's rules
sparsification   does the stated uncertainty sort the errors?
"""

from mriimpute.metrics.energy import energy_score
from mriimpute.metrics.ensemble import (
    COVERAGE_DRAWS,
    Ensemble,
    coverage,
    crps,
    draw_gap_db,
    draws_needed,
    ensemble_of,
    interval,
    rank_distance,
    rank_histogram,
    spread_skill,
)
from mriimpute.metrics.likelihood import gaussian_interval, nll, nll_of_draws
from mriimpute.metrics.point import mae, nrmse, psnr, rmse
from mriimpute.metrics.pooling import Pooled, pool
from mriimpute.metrics.sparsification import Sparsification, ause, sparsification
from mriimpute.metrics.structure import edges, gradient_psnr, hfen, ssim, stripes
from mriimpute.metrics.tissue import CLASSES, tissue_dice, tissue_thresholds

__all__ = [
    "CLASSES",
    "COVERAGE_DRAWS",
    "Ensemble",
    "Pooled",
    "Sparsification",
    "ause",
    "coverage",
    "crps",
    "draw_gap_db",
    "draws_needed",
    "edges",
    "energy_score",
    "ensemble_of",
    "gaussian_interval",
    "gradient_psnr",
    "hfen",
    "interval",
    "mae",
    "nll",
    "nll_of_draws",
    "nrmse",
    "pool",
    "psnr",
    "rank_distance",
    "rank_histogram",
    "rmse",
    "sparsification",
    "spread_skill",
    "ssim",
    "stripes",
    "tissue_dice",
    "tissue_thresholds",
]
