"""Overlapping patches in fixed places, and regions that use them without changing a bit.

The places depend on the grid alone. Patches are run in groups that depend on the places alone,
and what they say about a voxel is added up in one global order, so a region comes out the same
whatever other regions there are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product

import numpy as np
from jaxtyping import Float32, Float64
from numpy.typing import NDArray

__all__ = ["Blend", "Box", "Lattice", "Place"]

Place = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Box:
    """Voxels from `start` to before `stop`.

    Attributes:
        start: First voxel.
        stop: Voxel after the last, along each axis.
    """

    start: Place
    stop: Place

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """What cuts the box out of the grid."""
        i, j, k = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return i, j, k

    @property
    def shape(self) -> Place:
        """Voxels along each axis."""
        i, j, k = (b - a for a, b in zip(self.start, self.stop, strict=True))
        return i, j, k


@dataclass(frozen=True, slots=True)
class Lattice:
    """Patches that cover a grid, each overlapping its neighbours by about a third.

    Attributes:
        shape: Of the grid.
        extent: Voxels of a patch. Where it is larger than the grid, patches stick out.
        batch: Patches in a group.
    """

    shape: Place
    extent: Place
    batch: int

    def groups(self) -> list[list[Place]]:
        """Returns the first voxels of all patches, in groups of at most `batch`."""
        axes = (_starts(n, e) for n, e in zip(self.shape, self.extent, strict=True))
        places: list[Place] = list(product(*axes))  # type: ignore[arg-type]
        return [places[n : n + self.batch] for n in range(0, len(places), self.batch)]

    def regions(self, tile: int) -> Iterator[Box]:
        """Yields boxes of edge `tile` that make up the grid."""
        for i, j, k in product(*(range(0, n, tile) for n in self.shape)):
            stop = np.minimum((i + tile, j + tile, k + tile), self.shape).tolist()
            yield Box((i, j, k), (stop[0], stop[1], stop[2]))

    def touches(self, place: Place, region: Box) -> bool:
        """Tells whether the patch at `place` holds a voxel of `region`."""
        return all(
            p < stop and p + e > start
            for p, e, start, stop in zip(
                place, self.extent, region.start, region.stop, strict=True
            )
        )

    def cut(
        self, image: Float32[np.ndarray, "i j k"], places: Sequence[Place]
    ) -> Float32[np.ndarray, "b x y z"]:
        """Returns the patches of `image` at `places`, NaN outside of the grid."""
        patches = np.full((len(places), *self.extent), np.nan, np.float32)
        for patch, place in zip(patches, places, strict=True):
            inside, there = _overlap(place, self.extent, Box((0, 0, 0), self.shape))
            patch[inside] = image[there]
        return patches

    @property
    def tent(self) -> Float64[np.ndarray, "x y z"]:
        """The weight of each voxel of a patch: high in the middle, positive everywhere."""
        edges = (np.minimum(np.arange(n) + 0.5, n - 0.5 - np.arange(n)) / n for n in self.extent)
        weight: NDArray[np.float64] = reduce(np.multiply.outer, edges)
        return weight


class Blend:
    """Weighted sums of what patches say about the voxels of one region.

    Args:
        lattice: Where the patches lie.
        region: The voxels.
        sums: How many quantities are added up.
    """

    def __init__(self, lattice: Lattice, region: Box, sums: int) -> None:
        self.lattice = lattice
        self.region = region
        self.total = np.zeros((sums, *region.shape))

    def add(self, place: Place, terms: Float64[np.ndarray, "n x y z"]) -> None:
        """Adds the terms of the patch at `place`, where it lies in the region."""
        if not self.lattice.touches(place, self.region):
            return
        inside, there = _overlap(place, self.lattice.extent, self.region)
        self.total[(slice(None), *there)] += terms[(slice(None), *inside)]


def _starts(size: int, extent: int) -> list[int]:
    if size <= extent:
        return [(size - extent) // 2]
    step = max(1, 2 * extent // 3)
    return [*range(0, size - extent, step), size - extent]


def _overlap(
    place: Place, extent: Place, region: Box
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Returns the common voxels of a patch and a region, as indices of either."""
    bounds = [
        (max(p, start), min(p + e, stop))
        for p, e, start, stop in zip(place, extent, region.start, region.stop, strict=True)
    ]
    in_patch = tuple(slice(a - p, b - p) for (a, b), p in zip(bounds, place, strict=True))
    in_region = tuple(slice(a - s, b - s) for (a, b), s in zip(bounds, region.start, strict=True))
    return in_patch, in_region
