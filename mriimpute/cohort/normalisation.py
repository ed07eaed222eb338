"""Intensities to about [0, 1] and back, by one exact affine map per scan."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from mriimpute.errors import VolumeError
from mriimpute.volume import Volume

__all__ = ["Normalisation", "normalisation", "require_contrast"]

PERCENTILES = (0.5, 99.5)

Array = Float32[np.ndarray, "*shape"]


@dataclass(frozen=True, slots=True)
class Normalisation:
    """The map y -> (y - low) / scale.

    Attributes:
        low: Intensity that becomes 0.
        scale: Difference of intensity that becomes 1; positive.
    """

    low: float
    scale: float

    def apply(self, y: Array) -> Array:
        """Returns normalised intensities. NaN stays NaN."""
        return ((y.astype(np.float64) - self.low) / self.scale).astype(np.float32)

    def undo(self, x: Array) -> Array:
        """Returns intensities in the units of the scan."""
        return (x.astype(np.float64) * self.scale + self.low).astype(np.float32)


def normalisation(volume: Volume) -> Normalisation:
    """Returns the map that takes robust extremes of the observed voxels to 0 and 1.

    It is equivariant: a y + b with a > 0 is normalised to the same values as y. A scan that is
    almost everywhere constant is scaled by its full range, a constant one not at all.

    Raises:
        VolumeError: If no voxel is observed.
    """
    values = volume.data[volume.observed].astype(np.float64)
    if not values.size:
        raise VolumeError("no voxel of the scan is observed", hint="check the observed image")

    low, high = np.percentile(values, PERCENTILES).tolist()
    if high <= low:
        low, high = float(values.min()), float(values.max())
    return Normalisation(low, high - low if high > low else 1.0)


def require_contrast(volume: Volume, name: str) -> None:
    """Refuses a scan to learn from whose observed voxels are all alike.

    Raises:
        VolumeError: If they are.
    """
    values = volume.data[volume.observed]
    if values.size and values.min() == values.max():
        raise VolumeError(
            f"{name} is blank: all acquired voxels are {float(values[0]):g}",
            hint="there is nothing to learn from it: export it again, or leave it out",
        )
