"""Lines hidden inside images, and what interpolation makes of them.

Axes: b = images, n = context lines, m = n - 1 intervals, t = target lines of an interval,
w = pixels of a line, p = pixels across the lines.
"""

import numpy as np
from jaxtyping import Float32
from scipy import ndimage
from scipy.interpolate import PchipInterpolator

__all__ = ["blurred", "hide", "interleaved", "linear_lines", "pchip_between"]

SIGMA_PER_FWHM = 1 / np.sqrt(8 * np.log(2))


def blurred(image: Float32[np.ndarray, "p w"], pixels: float) -> Float32[np.ndarray, "p w"]:
    """Returns an image whose lines are averages over a Gaussian slice profile.

    Args:
        image: Lines along its first axis.
        pixels: Full width at half maximum of the profile; 0: as it is.
    """
    if pixels == 0:
        return image
    sigma = pixels * SIGMA_PER_FWHM
    return ndimage.gaussian_filter1d(image, sigma, axis=0, mode="nearest").astype(np.float32)


def hide(
    image: Float32[np.ndarray, "p w"], gap: int, step: int, thickness: float = 0.0
) -> tuple[Float32[np.ndarray, "n w"], Float32[np.ndarray, "t m w"]]:
    """Returns the context lines of an image, and the target lines between them.

    Args:
        image: Lines along its first axis; the first is context.
        gap: From one context line to the next, in voxels.
        step: Pixels of a voxel.
        thickness: Of the slice profile that context lines are averages over, as a fraction of the
            gap.
    """
    period = gap * step
    context = blurred(image, thickness * period)[::period]
    intervals = len(context) - 1
    inside = image[: intervals * period].reshape(intervals, period, image.shape[1])
    return context, np.moveaxis(inside[:, step::step], 1, 0)


def interleaved(
    context: Float32[np.ndarray, "b n w"], between: Float32[np.ndarray, "b t m w"]
) -> Float32[np.ndarray, "b p w"]:
    """Returns images of lines and of what lies between them: `hide` the other way round."""
    images, count, width = context.shape
    gap = between.shape[1] + 1
    whole = np.empty((images, (count - 1) * gap + 1, width), np.float32)
    whole[:, ::gap] = context
    for offset in range(1, gap):
        whole[:, offset::gap] = between[:, offset - 1]
    return whole


def pchip_between(
    context: Float32[np.ndarray, "b n w"], gap: int
) -> Float32[np.ndarray, "b t m w"]:
    """Returns monotone cubic interpolation (PCHIP) between lines `gap` voxels apart."""
    count, lines, width = context.shape
    places = np.arange(lines) * gap
    wanted = (places[:-1] + np.arange(1, gap)[:, None]).ravel()
    values = PchipInterpolator(places, context, axis=1)(wanted)
    return values.reshape(count, gap - 1, lines - 1, width).astype(np.float32)


def linear_lines(
    context: Float32[np.ndarray, "b n w"], gap: int
) -> Float32[np.ndarray, "b t m w"]:
    """Returns linear interpolation between lines `gap` voxels apart."""
    places = (np.arange(1, gap, dtype=np.float32) / np.float32(gap))[:, None, None]
    before, after = context[:, None, :-1], context[:, None, 1:]
    return before + places * (after - before)
