"""A sparse scan as it is kept: its acquired slices and where they lie on the target grid.

Only slices are kept, in half precision: inside the intensity range its step is at most 1/2048
of that range, and the target grid in single precision would take twelve times the memory for gaps
of six voxels.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float16, Float32, Int

from mriimpute.cohort.entry import Mapped
from mriimpute.cohort.foreground import foreground_level
from mriimpute.cohort.normalisation import normalisation, require_contrast
from mriimpute.cohort.split import observed_beside
from mriimpute.cohort.target_grid import to_target_grid
from mriimpute.errors import VolumeError
from mriimpute.geometry import find_stack
from mriimpute.io import read_scan, warn_of_contents
from mriimpute.volume import Volume

__all__ = ["SparseScan", "read_sparse", "sparse"]


@dataclass(frozen=True, slots=True, eq=False)
class SparseScan:
    """Normalised intensities of the acquired slices of a scan.

    Attributes:
        name: Of the file.
        slices: Acquired slices, stacked along `axis`, in memory or in a file; NaN where a slice
            has holes.
        positions: Of the slices on the target grid, increasing.
        axis: Slice axis.
        size: Voxels of the target grid along `axis`.
        foreground: Intensity that separates the head from the air around it.
    """

    name: str
    slices: Float16[np.ndarray, "a b c"] | Mapped
    positions: Int[np.ndarray, " slices"]
    axis: int
    size: int
    foreground: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the target grid."""
        sizes = list(self.slices.shape)
        sizes[self.axis] = self.size
        return sizes[0], sizes[1], sizes[2]

    @property
    def gap(self) -> int:
        """From one acquired slice to the next, in voxels: what is most frequent; at least 2."""
        gaps = np.diff(self.positions)
        counts = np.bincount(gaps[gaps > 1], minlength=3)
        return int(np.argmax(counts)) if counts.any() else 2

    def crop(
        self, start: tuple[int, int, int], extent: tuple[int, int, int]
    ) -> Float32[np.ndarray, "i j k"]:
        """Returns a box of the target grid, NaN where nothing was acquired.

        Args:
            start: Its first voxel; may lie outside of the grid, as may its end.
            extent: Its voxels along each axis.
        """
        box = np.full(extent, np.nan, np.float32)
        into, out_of = [], []
        for axis, (first, length) in enumerate(zip(start, extent, strict=True)):
            n = self.slices.shape[axis]
            positions = self.positions if axis == self.axis else np.arange(n)
            inside = np.flatnonzero((positions >= first) & (positions < first + length))
            into.append(positions[inside] - first)
            out_of.append(inside)
        box[np.ix_(*into)] = self.slices[np.ix_(*out_of)]
        return box


def read_sparse(path: Path) -> SparseScan:
    """Returns the scan at `path`, with the observed image that may lie beside it.

    Raises:
        VolumeError: If it cannot be read, is blank, or nothing is missing in it.
    """
    scan = read_scan(path, observed=observed_beside(path))
    warn_of_contents(scan)
    volume = to_target_grid(scan).volume
    require_contrast(volume, path.name)
    return sparse(volume, path.name)


def sparse(volume: Volume, name: str) -> SparseScan:
    """Returns what `volume` observed, normalised.

    Raises:
        VolumeError: If no voxel is observed.
    """
    stack = find_stack(volume.observed)
    axis = stack.axis if stack else 2
    others = tuple(n for n in range(3) if n != axis)
    positions = np.flatnonzero(volume.observed.any(axis=others))
    if not len(positions):
        raise VolumeError(f"{name}: no voxel is observed", hint="check the observed image")

    norm = normalisation(volume)
    kept = np.where(volume.observed, volume.data, np.float32(np.nan)).take(positions, axis=axis)
    slices = norm.apply(kept)
    return SparseScan(
        name=name,
        slices=slices.astype(np.float16),
        positions=positions,
        axis=axis,
        size=volume.shape[axis],
        foreground=foreground_level(slices[np.isfinite(slices)]),
    )
