"""The acquired slices of a scan, to learn from what lies inside them.

Axes: s = slices, x and y = inside a slice.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float16
from scipy import ndimage

from mriimpute.cohort.entry import Mapped
from mriimpute.cohort.foreground import foreground_level
from mriimpute.cohort.normalisation import normalisation, require_contrast
from mriimpute.cohort.split import observed_beside
from mriimpute.cohort.stack import pixel_steps, slices_of
from mriimpute.cohort.target_grid import to_target_grid
from mriimpute.geometry import ANY_DIRECTION, Cosines, find_stack, squared_cosines
from mriimpute.io import read_scan, warn_of_contents
from mriimpute.volume import Volume

__all__ = [
    "BRIGHTEST",
    "SliceScan",
    "acquired_slices",
    "gaps_of",
    "has_room",
    "is_shown",
    "read_slices",
    "resized",
]

BRIGHTEST = 1000.0
"""Normalised intensities end here, or half precision would overflow; the head is about 1."""


COARSEST_MM, FINEST_MM = 2.0, 0.9
FEWEST_PIXELS = 32
"""Up to which size, and down to which number of pixels, slices are shown coarser than they are;
down to which size they are shown finer."""


@dataclass(frozen=True, slots=True, eq=False)
class SliceScan:
    """The acquired slices of a scan that have no holes.

    Attributes:
        name: Of the file.
        slices: Normalised intensities, in memory or in a file.
        gaps: Distances between slices that the scan has, in voxels of the target grid; above 1.
        steps: Pixels along x and y that are as long as one voxel of the target grid.
        pixel_mm: Their size.
        foreground: Intensity that separates the head from the air around it.
        directions: In which lines may be hidden: False, lines follow each other along x and run
            along y; True, the other way round.
        cosines: Which way x and y run through the head.
    """

    name: str
    slices: Float16[np.ndarray, "s x y"] | Mapped
    gaps: tuple[int, ...]
    steps: tuple[int, int]
    pixel_mm: tuple[float, float]
    foreground: float
    directions: tuple[bool, ...] = (False, True)
    cosines: tuple[Cosines, Cosines] = (ANY_DIRECTION, ANY_DIRECTION)

    @property
    def voxel_mm(self) -> float:
        """Side of a voxel of the target grid."""
        return self.steps[0] * self.pixel_mm[0]


def read_slices(path: Path) -> SliceScan | None:
    """Returns the slices of the scan at `path`, or None where there is nothing to learn from.

    Raises:
        VolumeError: If it cannot be read, is blank, or nothing is missing in it.
    """
    scan = read_scan(path, observed=observed_beside(path))
    warn_of_contents(scan)
    volume = to_target_grid(scan).volume
    require_contrast(volume, path.name)
    return acquired_slices(volume, path.name)


def acquired_slices(volume: Volume, name: str) -> SliceScan | None:
    """Returns the slices of `volume`, or None where it is no stack of slices without holes."""
    stack = find_stack(volume.observed)
    if stack is None:
        return None
    slices = slices_of(volume, stack)
    whole = slices[np.isfinite(slices).all(axis=(1, 2))]
    if not len(whole):
        return None
    normalised = normalisation(volume).apply(whole).clip(-BRIGHTEST, BRIGHTEST)
    inside = [axis for axis in range(3) if axis != stack.axis]
    first, second = (volume.spacing_mm[axis] for axis in inside)
    along_x, along_y = (squared_cosines(volume.affine[:3, axis]) for axis in inside)
    return SliceScan(
        name=name,
        slices=normalised.astype(np.float16),
        gaps=tuple(sorted({gap for gap in stack.gaps if gap > 1})),
        steps=pixel_steps(volume, stack.axis),
        pixel_mm=(first, second),
        foreground=foreground_level(normalised.ravel()),
        cosines=(along_x, along_y),
    )


def resized(scan: SliceScan, scale: float) -> SliceScan:
    """Returns the scan as it would be with pixels `scale` times as long.

    Larger pixels are averages over their area; smaller ones are interpolated, as many a scan is
    that software has brought to another grid. Gaps stay as they are in voxels where these get
    larger: they count as its own, although no scanner chose them. Where voxels get smaller, gaps
    stay as they are in mm, as nearly as voxels allow.
    """
    if scale == 1:
        return scan
    blur = 0.4 * scale if scale > 1 else 0.0  # pixels
    whole = np.asarray(scan.slices, np.float32)
    slices = ndimage.gaussian_filter(whole, (0, blur, blur), mode="nearest")
    shape = [int((size - 1) / scale) + 1 for size in slices.shape[1:]]
    places = np.meshgrid(*(scale * np.arange(size) for size in shape), indexing="ij")
    sampled = [ndimage.map_coordinates(s, places, order=3, mode="nearest") for s in slices]
    first, second = scan.pixel_mm
    return dataclasses.replace(
        scan,
        slices=np.stack(sampled).astype(np.float16),
        gaps=scan.gaps if scale > 1 else tuple(sorted({round(g / scale) for g in scan.gaps})),
        pixel_mm=(first * scale, second * scale),
    )


def gaps_of(scans: Sequence[SliceScan]) -> list[int]:
    """Returns the gaps that the scans have."""
    return sorted({gap for scan in scans for gap in scan.gaps})


def has_room(scan: SliceScan) -> bool:
    """Tells whether lines can be hidden in the slices of a scan."""
    return min(scan.slices.shape[1:]) > 4 * max(scan.steps)


def is_shown(scan: SliceScan, scale: float) -> bool:
    """Tells whether a scan is to be shown with pixels `scale` times as long."""
    if scale < 1:
        return scale * min(scan.pixel_mm) >= FINEST_MM
    large = scale * max(scan.pixel_mm) > COARSEST_MM
    small = min(scan.slices.shape[1:]) < FEWEST_PIXELS * scale
    return scale == 1 or not (large or small)
