"""How good an imputation is: pure functions over the voxels of a region.

Point metrics take vectors, `image[region]`, so a voxel outside of the region cannot count. Draws
are stacked along the first axis. Sums are in float64, whatever comes in.

Axes: n = voxels of the region, s = draws, (i, j, k) = voxel indices.
"""

import math

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

__all__ = [
    "COVERAGE_DRAWS",
    "coverage",
    "crps",
    "draw_gap_db",
    "interval",
    "mae",
    "psnr",
    "rmse",
    "spread_skill",
    "ssim",
]

COVERAGE_DRAWS = 19
"""Fewest draws whose extremes bracket 90 % of an exact sampler's distribution."""

SSIM_SIGMA = 1.5
SSIM_RADIUS = 5  # an 11-voxel window, as in the paper

Values = Float[np.ndarray, " n"]
Draws = Float[np.ndarray, "s n"]


def mae(truth: Values, image: Values) -> float:
    """Returns the mean absolute error, in intensity units."""
    return float(np.abs(_difference(truth, image)).mean())


def rmse(truth: Values, image: Values) -> float:
    """Returns the root of the mean squared error, in intensity units."""
    return math.sqrt(np.square(_difference(truth, image)).mean())


def psnr(truth: Values, image: Values, *, data_range: float) -> float:
    """Returns the peak signal-to-noise ratio in dB; infinite where there is no error.

    Example:
        >>> psnr(np.zeros(4), np.full(4, 0.1), data_range=1.0)
        20.0
    """
    error = rmse(truth, image)
    return 20 * math.log10(data_range / error) if error else math.inf


def ssim(
    truth: Float[np.ndarray, "i j k"],
    image: Float[np.ndarray, "i j k"],
    *,
    region: Bool[np.ndarray, "i j k"],
    data_range: float,
) -> float:
    """Returns the structural similarity in 3D, its full map averaged over a region.

    The window is a Gaussian of sigma 1.5 voxels, so voxels up to 5 away from the region along
    each axis are looked at (NaN counts as zero there, in both images) but not averaged over.

    References:
        Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity,
        2004, Eq. 13, with population covariance: the map of scikit-image with
        `gaussian_weights=True` and `use_sample_covariance=False`.

    Args:
        truth: What was there.
        image: What was imputed, acquired voxels inserted.
        region: Where the map is averaged; not empty.
        data_range: Intensity that counts as the whole range.
    """
    box = _box(region, SSIM_RADIUS)
    known = np.isfinite(truth[box]) & np.isfinite(image[box])
    x = np.where(known, truth[box], 0.0).astype(np.float64)
    y = np.where(known, image[box], 0.0).astype(np.float64)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2

    mu_x, mu_y = _smooth(x), _smooth(y)
    power = mu_x**2 + mu_y**2
    variance = _smooth(x * x) + _smooth(y * y) - power
    covariance = _smooth(x * y) - mu_x * mu_y
    similarity = ((2 * mu_x * mu_y + c1) * (2 * covariance + c2)) / (
        (power + c1) * (variance + c2)
    )

    return float(similarity[region[box]].mean())


def crps(truth: Values, draws: Draws) -> float:
    """Returns the fair continuous ranked probability score of an ensemble, mean over voxels.

        crps = mean_k |x_k - y| - 1 / (2 s (s - 1)) sum_kl |x_k - x_l|

    It does not favour any number of draws, and for one draw repeated it is the absolute error.

    Args:
        truth: y.
        draws: x, at least two.

    References:
        Ferro, Fair scores for ensemble forecasts, 2014; the estimator "fair" of scoringrules.
    """
    count = len(draws)
    if count < 2:
        raise ValueError(f"draws must be at least 2, got {count}")

    # Errors, not intensities: the double sum then loses nothing to a large common offset.
    errors = np.sort(draws - truth, axis=0)
    skill = np.mean([np.abs(error).mean(dtype=np.float64) for error in errors])
    # Sorted, x_l - x_k for l > k sums to a weight per rank: sum_kl |x_k - x_l| = 2 sum_k w_k x_k.
    spread = sum(
        (2 * rank - count + 1) * error.mean(dtype=np.float64) for rank, error in enumerate(errors)
    )

    return float(skill - spread / (count * (count - 1)))


def interval(draws: Draws, *, share: float = 0.9) -> tuple[Values, Values]:
    """Returns per voxel the ends of the central interval of an ensemble.

    Quantile p lies at rank p (s + 1) among s draws, interpolated: a further value of the same
    distribution falls inside with probability `share`, whatever s. That takes
    s >= (1 + share) / (1 - share) draws, 19 for 90 %.
    """
    needed = round((1 + share) / (1 - share))
    if len(draws) < needed:
        raise ValueError(f"draws must be at least {needed}, got {len(draws)}")

    tail = (1 - share) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0, method="weibull")
    return low, high


def coverage(truth: Values, low: Values, high: Values) -> float:
    """Returns the share of voxels whose truth lies in their interval, ends included."""
    return float(((truth >= low) & (truth <= high)).mean())


def spread_skill(truth: Values, mean: Values, draws: Draws) -> float:
    """Returns the spread of the draws over the error of the mean: 1 where they agree.

    sqrt(mean over voxels of the draws' variance) / RMSE(mean). Below 1: too sure of itself.
    """
    variance = np.var(draws, axis=0, ddof=1, dtype=np.float64).mean()
    error = rmse(truth, mean)
    return math.sqrt(variance) / error if error else math.inf


def draw_gap_db(truth: Values, mean: Values, draws: Draws) -> float:
    """Returns how many dB one draw lies below the mean; 3.01 for an ideal sampler.

    10 log10(E |draw - y|^2 / E |mean - y|^2). A draw that is distributed as the truth is has
    twice the squared error of the conditional mean. Less: collapsed; more: over-dispersed.
    """
    of_draws = float(np.mean([rmse(truth, draw) ** 2 for draw in draws]))
    of_mean = rmse(truth, mean) ** 2
    return 10 * math.log10(of_draws / of_mean) if of_mean else math.inf


def _difference(truth: Values, image: Values) -> Values:
    return image.astype(np.float64) - truth


def _smooth(image: Float[np.ndarray, "i j k"]) -> Float[np.ndarray, "i j k"]:
    smoothed: Float[np.ndarray, "i j k"] = ndimage.gaussian_filter(
        image, SSIM_SIGMA, radius=SSIM_RADIUS
    )
    return smoothed


def _box(region: Bool[np.ndarray, "i j k"], margin: int) -> tuple[slice, ...]:
    (bounds,) = ndimage.find_objects(region.astype(np.uint8))
    return tuple(slice(max(0, edge.start - margin), edge.stop + margin) for edge in bounds)
