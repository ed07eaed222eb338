"""Errors of one value a voxel.

Axes: n = voxels of the region.
"""

import math

import numpy as np
from jaxtyping import Float

__all__ = ["mae", "nrmse", "psnr", "rmse"]

Values = Float[np.ndarray, " n"]


def mae(truth: Values, image: Values) -> float:
    """Returns the mean absolute error, in intensity units."""
    return float(np.abs(_difference(truth, image)).mean())


def rmse(truth: Values, image: Values) -> float:
    """Returns the root of the mean squared error, in intensity units."""
    return math.sqrt(np.square(_difference(truth, image)).mean())


def nrmse(truth: Values, image: Values) -> float:
    """Returns |image - truth| / |truth|, the Euclidean norms over the region; 0 is perfect.

    Example:
        >>> nrmse(np.full(4, 2.0), np.full(4, 2.5))
        0.25
    """
    error = rmse(truth, image)
    scale = math.sqrt(np.square(truth, dtype=np.float64).mean())
    if not error:
        return 0.0
    return error / scale if scale else math.inf


def psnr(truth: Values, image: Values, *, data_range: float) -> float:
    """Returns the peak signal-to-noise ratio in dB; infinite where there is no error.

    Example:
        >>> psnr(np.zeros(4), np.full(4, 0.1), data_range=1.0)
        20.0
    """
    error = rmse(truth, image)
    return 20 * math.log10(data_range / error) if error else math.inf


def _difference(truth: Values, image: Values) -> Values:
    return image.astype(np.float64) - truth
