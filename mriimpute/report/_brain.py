"""Where the brain is, roughly, so that pictures are bright where people look.

Fat of the scalp is the brightest tissue of most heads. A window that ends there shows a brain of
few dark greys. What lies deep in the head is brain, stripped or not, whatever the contrast.

Axes: i, j, k = right, anterior, superior; n = voxels deep in the head.
"""

import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage

__all__ = ["Brain"]

COARSE_MM = 2.5
"""Voxels this far apart are looked at: enough for percentiles."""

LOWEST, HIGHEST = 0.5, 99.8
"""Percentiles of a scan between which its intensities are taken to lie."""

FOREGROUND = 0.1
"""Of these: what is darker is air."""

DEPTH = 0.3
"""Of the depth of the deepest voxel: skin, fat and skull lie above."""

WINDOW = 99.5
"""Percentile of the brain at which pictures are white."""

Image = Float32[np.ndarray, "i j k"]


class Brain:
    """Voxels deep in the head, on a coarse grid; all of them where there is no head.

    Args:
        image: Of a scan: head or brain, brighter than the air around it.
        spacing_mm: Between its voxels.
    """

    def __init__(self, image: Image, spacing_mm: tuple[float, float, float]) -> None:
        steps = [max(1, int(COARSE_MM / mm)) for mm in spacing_mm]
        self._coarse = tuple(slice(None, None, step) for step in steps)
        coarse = image[self._coarse]
        low, high = np.percentile(coarse[np.isfinite(coarse)], (LOWEST, HIGHEST))
        self.air = float(low + FOREGROUND * (high - low))
        head = _filled(coarse > self.air)
        sampling = [step * mm for step, mm in zip(steps, spacing_mm, strict=True)]
        depth = ndimage.distance_transform_edt(np.pad(head, 1), sampling)[1:-1, 1:-1, 1:-1]
        self._deep = depth > DEPTH * depth.max()
        if not self._deep.any():
            self._deep = np.ones_like(head)
        # A constant scan has a window, too, and units may be tiny: m2/s of diffusion are 1e-9.
        least = low + 1e-6 * (abs(low) or high or 1.0)
        self.window = float(low), float(max(self.percentile(image, WINDOW), least))

    def percentile(
        self, image: Image, percent: float, where: Bool[np.ndarray, "i j k"] | None = None
    ) -> float:
        """Returns a percentile of the values in the brain, or of those where `where` is true."""
        kept = self._deep if where is None else self._deep & where[self._coarse]
        values = image[self._coarse][kept]
        values = values[np.isfinite(values)]
        return float(np.percentile(values, percent)) if len(values) else 0.0


def _filled(head: Bool[np.ndarray, "i j k"]) -> Bool[np.ndarray, "i j k"]:
    """Returns a head without holes in any of its planes: bone and fluid are dark in many scans."""
    filled = head.copy()
    for axis in range(3):
        for plane, kept in zip(
            np.moveaxis(head, axis, 0), np.moveaxis(filled, axis, 0), strict=True
        ):
            kept |= ndimage.binary_fill_holes(plane)
    return filled
