"""Which intensities belong to the head and not to the air around it, and how deep pixels lie."""

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from mriimpute.otsu import otsu_thresholds

__all__ = ["depths_mm", "foreground_level"]


def foreground_level(values: Float32[np.ndarray, " n"]) -> float:
    """Returns Otsu's threshold of normalised intensities, halved to keep dark tissue.

    Where all are alike there is no air: minus infinity.
    """
    clipped = np.clip(values, 0.0, 1.0)
    return 0.5 * float(otsu_thresholds(clipped)[0]) if np.ptp(clipped) > 0 else -np.inf


def depths_mm(
    image: Float32[np.ndarray, "x y"], foreground: float, pixel_mm: tuple[float, float]
) -> Float32[np.ndarray, "x y"]:
    """Returns how far each pixel is from the nearest one outside of the head in its slice.

    Args:
        image: The slice.
        foreground: Intensity that separates the head from the air; holes count as head.
        pixel_mm: Size of the pixels.
    """
    head = np.pad(ndimage.binary_fill_holes(image > foreground), 1)
    depth = ndimage.distance_transform_edt(head, sampling=pixel_mm)
    return depth.astype(np.float32)[1:-1, 1:-1]
