"""What all stages exchange: intensities, what was acquired, and where it lies.

Axes: i, j, k = voxel indices towards right, anterior, superior. Reading brings a scan into this
orientation and writing takes it back, so no other orientation exists in between.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64

__all__ = ["Companion", "Volume"]


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A scan on a regular grid.

    Attributes:
        data: Intensities. An unobserved voxel may hold anything, NaN included.
        observed: True where the scanner measured.
        affine: From voxel indices (i, j, k, 1) to millimetres right, anterior, superior.
        thickness_mm: Full width at half maximum of the slice profile that observed voxels are
            averages over; 0: point samples.
    """

    data: Float32[np.ndarray, "i j k"]
    observed: Bool[np.ndarray, "i j k"]
    affine: Float64[np.ndarray, "4 4"]
    thickness_mm: float = 0.0

    def __post_init__(self) -> None:
        if self.data.shape != self.observed.shape:
            raise ValueError(
                f"data and observed must have one shape, got {self.data.shape} "
                f"and {self.observed.shape}"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j and k."""
        i, j, k = self.data.shape
        return i, j, k

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along i, j and k, in mm."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return i, j, k


@dataclass(frozen=True, slots=True, eq=False)
class Companion:
    """Another scan of the same head, of any contrast, on the grid of a volume.

    Attributes:
        name: Of its file.
        data: Intensities; NaN where it saw nothing.
        crosses: Its own slices leave no gaps, or cross those of the volume: it may have seen what
            lies between these.
    """

    name: str
    data: Float32[np.ndarray, "i j k"]
    crosses: bool = True
