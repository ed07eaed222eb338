"""How noisy a scan is, measured inside its acquired slices.

The second difference along both axes of a slice,

    r = (y * k) / 6,    k = [[1, -2, 1], [-2, 4, -2], [1, -2, 1]],

vanishes wherever intensities are a sum of a function of x and one of y, hence on ramps and on
edges along the axes, and has the standard deviation of white noise. Its median absolute deviation
over the head hardly feels the edges that remain. Fine texture all over the head counts as noise;
noise that was smoothed away does not count.

Axes: s = slices, x and y = inside a slice.

References:
    Immerkaer, Fast Noise Variance Estimation, 1996. Donoho & Johnstone, Ideal Spatial Adaptation
    by Wavelet Shrinkage, 1994 (the median).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from mriimpute.cohort.sparse import SparseScan

__all__ = ["noise_level", "noise_of_slices"]

SLICES = 16
"""Looked at in a scan, at most."""

MAD = 1.4826
"""Standard deviation of a Gaussian over its median absolute deviation."""


def noise_of_slices(slices: Float[np.ndarray, "s x y"], foreground: float) -> float:
    """Returns the standard deviation of the noise in the head; 0 where there is no head.

    Args:
        slices: Intensities; pixels may be NaN.
        foreground: Intensity that separates the head from the air: that is often masked, or its
            noise is not that of the head.
    """
    y = slices.astype(np.float32)
    rows = y[:, :-2] - 2 * y[:, 1:-1] + y[:, 2:]
    residual = (rows[..., :-2] - 2 * rows[..., 1:-1] + rows[..., 2:]) / 6
    head = residual[(y[:, 1:-1, 1:-1] > foreground) & np.isfinite(residual)]
    return MAD * float(np.median(np.abs(head))) if head.size else 0.0


def noise_level(scans: Sequence[SparseScan]) -> float:
    """Returns the noise level of the median scan, in units of normalised intensity.

    Args:
        scans: At least one.
    """
    return float(np.median([_noise_of(scan) for scan in scans]))


def _noise_of(scan: SparseScan) -> float:
    slices = np.moveaxis(np.asarray(scan.slices), scan.axis, 0)
    return noise_of_slices(slices[:: -(-len(slices) // SLICES)], scan.foreground)
