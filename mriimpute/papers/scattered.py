"""Baselines for one plane of scattered pixels: linear interpolation, and the median filter.

Axes: (h, w) = rows and columns of an image, b = images.
"""

import numpy as np
from jaxtyping import Bool, Float
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import interpolate, ndimage, spatial

__all__ = ["linear_fill", "median_fill"]

ROWS = 64  # filtered at once: every pixel of them holds a copy of its window


def linear_fill(
    y: Float[np.ndarray, "h w"], observed: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w"]:
    """Returns an image whose unobserved pixels are interpolated from the observed ones.

    Linear on the triangles of a Delaunay triangulation; outside of their hull, and where all
    observed pixels lie on one line, the value of the nearest observed pixel. Observed pixels are
    returned as they are; an image without any is 0.

    Args:
        y: Unobserved pixels may be NaN.
        observed: Which pixels to interpolate from.
    """
    if not observed.any():
        return np.zeros_like(y)
    nearest = ndimage.distance_transform_edt(
        ~observed, return_distances=False, return_indices=True
    )
    filled = y[tuple(nearest)]
    inside = _on_triangles(y, observed)
    return np.where(observed | np.isnan(inside), filled, inside)


def median_fill(
    y: Float[np.ndarray, "h w"], observed: Bool[np.ndarray, "h w"], *, size: int
) -> Float[np.ndarray, "h w"]:
    """Returns an image whose unobserved pixels are the median of the observed ones around.

    A pixel without an observed one in its window stays NaN. Observed pixels are returned as they
    are.

    References:
        Tonolini et al., Tomographic Auto-Encoder, 2021, section 4.3 ("unable to fill pixels that
        are surrounded by large missing areas").

    Args:
        y: Unobserved pixels may be NaN.
        observed: Which pixels count.
        size: Edge of the square window, in pixels; odd.
    """
    if size % 2 == 0 or size < 1:
        raise ValueError(f"size must be odd, to be centred on a pixel, got {size}")
    half = size // 2
    padded = np.pad(np.where(observed, y, np.nan), half, constant_values=np.nan)
    windows = sliding_window_view(padded, (size, size))
    parts = [_median(windows[row : row + ROWS]) for row in range(0, len(y), ROWS)]
    return np.where(observed, y, np.concatenate(parts))


def _on_triangles(y: NDArray[np.floating], observed: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Returns the linear interpolant inside the hull of the observed pixels, NaN outside."""
    points = np.argwhere(observed)
    if np.linalg.matrix_rank(points - points[0]) < 2:  # no triangle
        return np.full_like(y, np.nan)
    linear = interpolate.LinearNDInterpolator(spatial.Delaunay(points), y[observed])
    rows, columns = np.indices(y.shape)
    return linear(rows, columns).astype(y.dtype)


def _median(windows: Float[np.ndarray, "h w n m"]) -> Float[np.ndarray, "h w"]:
    """Returns the median of what is not NaN in each window; NaN where nothing is."""
    # Sorted with NaN last, the median is the mean of the two in the middle of what is not:
    # `nanmedian` would warn where nothing is, and loop over pixels.
    values = np.sort(windows.reshape(*windows.shape[:2], -1), axis=-1)
    count = np.sum(~np.isnan(values), axis=-1, keepdims=True)
    low = np.take_along_axis(values, np.maximum(count - 1, 0) // 2, axis=-1)
    high = np.take_along_axis(values, count // 2, axis=-1)
    return ((low + high) / 2)[..., 0].astype(windows.dtype)
