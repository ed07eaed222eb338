"""What a slice stack offers a learner: its slices, its intensity range, its pixel steps."""

import numpy as np
from jaxtyping import Float32

from mriimpute.cohort.normalisation import normalisation
from mriimpute.geometry import Stack
from mriimpute.volume import Volume

__all__ = ["intensity_range", "pixel_steps", "slices_of"]


def slices_of(volume: Volume, stack: Stack) -> Float32[np.ndarray, "s x y"]:
    """Returns the acquired slices; pixels of them that are missing are NaN."""
    data = np.where(volume.observed, volume.data, np.float32(np.nan))
    return np.ascontiguousarray(np.moveaxis(data, stack.axis, 0)[list(stack.positions)])


def intensity_range(volume: Volume) -> float:
    """Returns the difference of intensity that normalisation makes 1."""
    return normalisation(volume).scale


def pixel_steps(volume: Volume, axis: int) -> tuple[int, int]:
    """Returns how many pixels of a slice are about as long as one step along `axis`."""
    along = volume.spacing_mm[axis]
    first, second = (mm for a, mm in enumerate(volume.spacing_mm) if a != axis)
    return max(1, round(along / first)), max(1, round(along / second))
