"""Scores of imputed images, over the pixels of a region.

Pixels whose truth is NaN (a hole of a depth map, the border of `pad`) never count.

Axes: s = draws, n = images, (h, w) = rows and columns.
"""

import math
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float

from mriimpute import metrics

__all__ = ["mse", "psnr_db", "score_draws", "score_mean"]

Images: TypeAlias = Float[np.ndarray, "n 1 h w"]
Draws: TypeAlias = Float[np.ndarray, "s n 1 h w"]
Region: TypeAlias = Bool[np.ndarray, "n 1 h w"]


def mse(truth: Images, image: Images, region: Region | None = None) -> float:
    """Returns the mean squared error over a region; by default over all pixels."""
    where = _known(truth, region)
    return metrics.rmse(truth[where], image[where]) ** 2


def psnr_db(
    truth: Images, image: Images, region: Region | None = None, *, data_range: float = 1.0
) -> float:
    """Returns the peak signal-to-noise ratio over a region, pooled over the images."""
    where = _known(truth, region)
    return metrics.psnr(truth[where], image[where], data_range=data_range)


def score_mean(truth: Images, mean: Images, observed: Region) -> dict[str, float]:
    """Returns the scores of a single image each.

    `mse_all` is over all pixels, those observed included; `mse_missing`, `mae_missing` and
    `psnr_missing_db` (peak 1) are over the others. NaN where there are no others.
    """
    scores = {"mse_all": mse(truth, mean)}
    where = _known(truth, ~observed)
    if not where.any():
        return scores | dict.fromkeys(("mse_missing", "mae_missing", "psnr_missing_db"), math.nan)
    return scores | {
        "mse_missing": mse(truth, mean, ~observed),
        "mae_missing": metrics.mae(truth[where], mean[where]),
        "psnr_missing_db": psnr_db(truth, mean, ~observed),
    }


def score_draws(
    truth: Images,
    draws: Draws,
    region: Region | None = None,
    *,
    mean: Images | None = None,
    prefix: str = "",
) -> dict[str, float]:
    """Returns how well draws state their uncertainty over a region.

    `crps`; `coverage90`, the fraction of truths inside the central 90 % interval (NaN for fewer
    than 19 draws); `spread_skill`, the standard deviation of the draws over the error of the mean.

    Args:
        truth: What was there, without noise.
        draws: At least two.
        region: Where; by default everywhere.
        mean: The point estimate; by default the mean of the draws.
        prefix: Put before the names, such as "latent_" for draws without pixel noise.
    """
    where = _known(truth, region)
    values, samples = truth[where], draws[:, where]
    point = samples.mean(0) if mean is None else mean[where]
    coverage = math.nan
    if len(draws) >= metrics.COVERAGE_DRAWS:
        coverage = metrics.coverage(values, *metrics.interval(samples))
    variance = np.var(samples, axis=0, ddof=1, dtype=np.float64)
    scores = {
        "crps": metrics.crps(values, samples),
        "coverage90": coverage,
        "spread_skill": metrics.spread_skill(values, point, variance),
    }
    return {f"{prefix}{name}": value for name, value in scores.items()}


def _known(truth: Images, region: Region | None) -> Region:
    known = np.isfinite(truth)
    return known if region is None else known & region
