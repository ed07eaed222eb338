"""How else a slice might look: of an extracted brain, of another scanner, in another contrast.

Functions draw all that they need at once, and return what then changes an image: a process that
shares a batch with others draws for all of it, and changes its own part.

Axes: x and y = inside a slice, p = pixels across, w = pixels along the lines of a crop.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32, Float64
from scipy import ndimage

from mriimpute.cohort.foreground import depths_mm
from mriimpute.cohort.slices import SliceScan

__all__ = ["as_extracted", "recoloured"]

SCALP_MM = 8.0, 18.0
"""Depth from which on something is left of a head that is shown as an extracted brain."""

WAVES, WAVE_MM = 10, 2.5
"""Knots across a slice, and standard deviation, of how the surface of such a brain goes in and
out."""

LEAST_BRAIN = 0.05
"""Share of the pixels of a slice that must be left for it to be shown so."""

# Named here, as annotations of functions inside functions are evaluated anew for every crop.
Slice = Float[np.ndarray, "x y"]
Crop = Float32[np.ndarray, "p w"]


def as_extracted(
    scan: SliceScan, fraction: float, generator: np.random.Generator
) -> Callable[[Slice], Slice]:
    """Draws what then shows a slice of a head as that of a brain that was extracted from it.

    Args:
        scan: Which the slice is of.
        fraction: How often; otherwise slices stay as they are.
        generator: All randomness.
    """
    depth_mm = generator.uniform(*SCALP_MM)
    waves = WAVE_MM * generator.standard_normal((WAVES, WAVES))
    if generator.random() >= fraction:
        return lambda image: image

    def extract(image: Slice) -> Slice:
        shown = image.astype(np.float32)
        depth = depths_mm(shown, scan.foreground, scan.pixel_mm)
        along_x, along_y = map(_spline, image.shape)
        surface = depth_mm + along_x @ waves @ along_y.T
        brain = depth > np.maximum(surface, 0)
        if brain.mean() < LEAST_BRAIN:
            return shown
        # Without bright fat, what is white is the brain.
        white = max(float(np.percentile(shown[brain], 99)), scan.foreground)
        if white <= 0:  # slices without holes show air alone
            return shown
        return np.where(brain, shown / np.float32(white), np.float32(0))

    return extract


def recoloured(
    gamma: float, contrast: float, generator: np.random.Generator
) -> Callable[[Crop], Crop]:
    """Draws what then shows a crop as another scanner, or another contrast, might.

    Args:
        gamma: Largest log of the power that intensities are raised to.
        contrast: How often they go through a random curve instead.
        generator: All randomness.
    """
    power, gain = np.exp(generator.uniform(-1, 1, 2) * [gamma, 0.2])
    knots = generator.random(6)
    is_curve = generator.random() < contrast

    def recolour(crop: Crop) -> Crop:
        if is_curve:
            curve = np.interp(crop, np.linspace(0, 1, 7), [0.0, *knots])
            return (curve + np.maximum(crop - 1, 0) + np.minimum(crop, 0)).astype(np.float32)
        return (gain * np.sign(crop) * np.abs(crop) ** power).astype(np.float32)

    return recolour


@lru_cache(maxsize=64)
def _spline(size: int) -> Float64[np.ndarray, "size knots"]:
    """Returns what takes `WAVES` knots to the cubic spline through them, at so many places.

    A product with it for each axis is what `ndimage.zoom` does, which takes most of a draw.
    """
    knots = np.eye(WAVES)
    return np.asarray(ndimage.zoom(knots, (size / WAVES, 1), order=3))
