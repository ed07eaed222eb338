"""A test case: what a method is given, and the truth that its prediction is compared with.

Axes: i, j, k = voxel indices, n = voxels of the region.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int
from scipy import ndimage

from mriimpute.errors import VolumeError
from mriimpute.evaluation.protocol import PAPER, Protocol
from mriimpute.geometry import Stack
from mriimpute.volume import Volume

__all__ = ["DATA_RANGE_PERCENTILE", "SparseScan", "TestCase", "require_contrast"]

DATA_RANGE_PERCENTILE = 99.5  # of the truth in the brain


def require_contrast(values: Float32[np.ndarray, " n"], what: Path) -> None:
    """Stops where all values are alike: whatever predicts that has an infinite score.

    Args:
        values: What would be scored, or what methods are given.
        what: Holds them; for messages.

    Raises:
        VolumeError: If so.
    """
    if len(values) and values.min() == values.max():
        raise VolumeError(
            f"{what} is blank: all that counts of it is {float(values.min()):g}, and no score has "
            "a scale there",
            hint="leave it out",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseScan:
    """One sparse scan.

    Attributes:
        subject: BIDS label, `sub-01`.
        name: The scan's file name without ending; names it in results.
        path: The sparse scan.
    """

    subject: str
    name: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TestCase:
    """A sparse volume and its truth, on one grid that runs from the first to the last slice.

    Attributes:
        source: The scan that it is made of.
        checksum: Of the sparse scan; its name in random streams, as in `mriimpute impute`.
        volume: All that an imputer is given.
        stack: Where its slices lie, or None for another pattern of missing voxels.
        truth: On the grid of `volume`.
        brain: Inside of the brain, or of the head where the protocol knows no brain.
        region: What is scored: missing voxels of the brain, between the first and the last slice.
        data_range: Intensity that counts as the whole range, as the protocol defines it.
        protocol: What counts, and how it is scored.
        refinement: Voxels of the target grid, which methods fill, for each one of this grid, along
            the slice axis; 1: methods fill this grid.
        labels: Which structure each voxel belongs to, zero: none; None without a label map.
    """

    source: SparseScan
    checksum: str
    volume: Volume
    stack: Stack | None
    truth: Float32[np.ndarray, "i j k"]
    brain: Bool[np.ndarray, "i j k"]
    region: Bool[np.ndarray, "i j k"]
    data_range: float
    __test__ = False  # pytest collects classes of such a name

    protocol: Protocol = PAPER
    refinement: int = 1
    labels: Int[np.ndarray, "i j k"] | None = None

    def distances(self) -> Int[np.ndarray, " n"]:
        """Returns the voxels from each voxel of the region to the nearest slice, or measurement.

        Off a stack this is the Euclidean distance, rounded.
        """
        if self.stack is None:
            distances = ndimage.distance_transform_edt(~self.volume.observed)
            return np.rint(distances[self.region]).astype(np.int64)

        before, after = self._neighbours(self.stack)
        return np.minimum(before, after)

    def offsets(self) -> Int[np.ndarray, " n"] | None:
        """Returns the voxels from the slice before to each voxel of the region; None off a stack.

        Scores by offset show a method that treats the two ends of a gap differently.
        """
        return None if self.stack is None else self._neighbours(self.stack)[0]

    def carried_labels(self) -> Int[np.ndarray, " n"] | None:
        """Returns for each voxel of the region the label of the nearest measurement.

        On a stack this is the nearest slice along its axis, of two equally near ones the first.
        None without a label map.
        """
        if self.labels is None:
            return None
        if self.stack is None:
            nearest = ndimage.distance_transform_edt(
                ~self.volume.observed, return_distances=False, return_indices=True
            )
            return self.labels[tuple(nearest)][self.region]

        indices = list(np.nonzero(self.region))
        before, after = self._neighbours(self.stack)
        indices[self.stack.axis] = indices[self.stack.axis] + np.where(
            before <= after, -before, after
        )
        return self.labels[tuple(indices)]

    def _neighbours(self, stack: Stack) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        positions = np.array(stack.positions)
        index = np.nonzero(self.region)[stack.axis]
        before = positions[np.searchsorted(positions, index, side="right") - 1]
        after = positions[np.searchsorted(positions, index, side="left")]
        return index - before, after - index
