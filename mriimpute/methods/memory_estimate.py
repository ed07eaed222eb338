"""What an imputation takes of main memory, and the tiles with which it fits."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from mriimpute.memory import require_memory

__all__ = ["MemoryEstimate", "fitting_tile"]

log = logging.getLogger(__name__)

MIN_TILE = 16
"""Edge of a tile below which smaller ones save nothing."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Main memory that an imputation takes at its peak, beyond what the process holds before.

    Attributes:
        fixed: In bytes.
        per_voxel: Of the imputed grid.
        per_tile_voxel: Of the region that is worked on at once; 0 where nothing is tiled.
    """

    fixed: int = 64 * 2**20
    per_voxel: int = 80
    per_tile_voxel: int = 0

    def needed(self, shape: Sequence[int], tile: int) -> int:
        """Returns the bytes for a grid of `shape`, worked on in cubes of edge `tile`.

        Example:
            >>> MemoryEstimate(fixed=1, per_voxel=10, per_tile_voxel=1).needed((4, 4, 4), 2)
            649
        """
        region = prod(min(size, tile) for size in shape)
        return self.fixed + self.per_voxel * prod(shape) + self.per_tile_voxel * region


def fitting_tile(
    estimate: MemoryEstimate, shape: Sequence[int], *, tile: int, free: int | None, what: str
) -> int:
    """Returns the largest tile, at most `tile`, with which an imputation fits into memory.

    Args:
        estimate: Of the method.
        shape: Of the imputed grid.
        tile: Edge that is wanted, in voxels. It is halved as long as that helps.
        free: Bytes that may be taken, see `available_bytes`; None where nobody knows.
        what: Is imputed, for messages.

    Raises:
        ResourceError: If even small tiles are too much.
    """
    if free is None:
        return tile
    size = tile
    while (needed := estimate.needed(shape, size)) > free:
        if not estimate.per_tile_voxel or size // 2 < MIN_TILE:
            require_memory(needed, free, what=what)
        size //= 2
    if size < tile:
        log.info("%s: tiles of %d voxels instead of %d, to fit into memory", what, size, tile)
    return size
