"""Random patches of sparse scans.

Slices skipped along one axis never show two voxels less than a gap apart along that axis, so a
model that sees patches in one orientation only cannot learn how such voxels go together. Inside
slices they are seen, along two axes. Patches are therefore shown in random orientations: where
texture is locally isotropic, what is learnt inside slices holds across them.

Axes: b = batch, grid = voxels of a patch, two or three axes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from mriimpute.cohort.sparse import SparseScan

__all__ = ["PatchConfig", "Patches", "draw_patches", "in_space"]

ATTEMPTS = 64
"""Voxels looked at in search of one in the foreground."""

# Named here, as annotations of functions inside functions are evaluated anew for every patch.
Patch = Float32[np.ndarray, "*grid"]
Voxel = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchConfig:
    """How patches are drawn.

    Attributes:
        foreground: Share of patches that surely hold a voxel of the head.
        permute_axes: Show patches in all 48 orientations of the grid axes. Off, nothing is
            learnt about distances shorter than a gap along the slice axis, except through the
            low dimension of the model.
        inside: Of patches of two axes in random orientations, the share that lies inside acquired
            slices, where all is observed; the others cross the slices.
    """

    foreground: float = 0.9
    permute_axes: bool = True
    inside: float = 0.9

    def __post_init__(self) -> None:
        for name in ("foreground", "inside"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0 to 1, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """A batch of patches.

    Attributes:
        y: Normalised intensities, NaN where unobserved.
        observed: True where measured.
        names: The scan of each patch.
        gaps: Between acquired slices of that scan, in voxels.
        shown: What of it a model is shown, while it is judged by all; None: all of it.
    """

    y: Float32[np.ndarray, "b 1 *grid"]
    observed: Bool[np.ndarray, "b 1 *grid"]
    names: tuple[str, ...]
    gaps: tuple[int, ...] = ()
    shown: Bool[np.ndarray, "b 1 *grid"] | None = None


def draw_patches(
    scans: Sequence[SparseScan],
    grid: Sequence[int],
    batch: int,
    *,
    config: PatchConfig,
    generator: np.random.Generator,
    rows: slice = slice(None),
) -> Patches:
    """Returns `batch` patches of random scans, at random places, in random orientations.

    Args:
        scans: At least one.
        grid: Voxels of a patch along each of its two or three axes.
        batch: Number of patches.
        config: How to draw.
        generator: All randomness.
        rows: Of the batch, which alone are cut out and returned: those of a process that shares
            it with others.
    """
    chosen = [scans[n] for n in generator.integers(len(scans), size=batch)]
    cuts = [_cut(scan, grid, config, generator) for scan in chosen]
    y = np.stack([cut() for cut in cuts[rows]])[:, None]
    names, gaps = zip(*((scan.name, scan.gap) for scan in chosen[rows]), strict=True)
    return Patches(y, np.isfinite(y), names, gaps)


def in_space(grid: Sequence[int], slice_axis: int) -> tuple[int, int, int]:
    """Returns the voxels along i, j and k of a patch in native orientation.

    A patch of two axes is a plane across the slices: coronal where these are axial or sagittal,
    axial where they are coronal.

    Args:
        grid: Voxels of the patch along each of its axes.
        slice_axis: Of the scan.

    Example:
        >>> in_space((8, 9), slice_axis=2), in_space((8, 9), slice_axis=1)
        ((8, 1, 9), (8, 9, 1))
    """
    if len(grid) == 3:
        return grid[0], grid[1], grid[2]
    extent = list(grid)
    extent.insert(_flat(slice_axis), 1)
    return extent[0], extent[1], extent[2]


def _flat(slice_axis: int) -> int:
    """Returns along which axis a patch of two axes is one voxel thick."""
    return 2 if slice_axis == 1 else 1


def _cut(
    scan: SparseScan, grid: Sequence[int], config: PatchConfig, generator: np.random.Generator
) -> Callable[[], Patch]:
    """Draws all that a patch depends on, and returns what then cuts it out."""
    wanted = np.array(in_space(grid, scan.axis))
    order, flips = np.arange(3), np.zeros(3, bool)
    if config.permute_axes:
        order, flips = generator.permutation(3), generator.random(3) < 0.5
        if len(grid) == 2:
            order = _turned(order, _flat(scan.axis), scan.axis, config, generator)
    extent = np.empty(3, np.int64)
    extent[order] = wanted  # axis order[n] of the scan becomes axis n of the patch
    place = _place(scan, config, generator)
    before = generator.integers(extent)

    def cut() -> Patch:
        room = np.array(scan.shape) - extent
        start = np.where(room >= 0, np.clip(place() - before, 0, np.maximum(room, 0)), room // 2)
        i, j, k = start.tolist()
        a, b, c = extent.tolist()
        patch = scan.crop((i, j, k), (a, b, c)).transpose(order)
        patch = np.flip(patch, axis=tuple(np.flatnonzero(flips).tolist()))
        return np.ascontiguousarray(patch.reshape(tuple(grid)))

    return cut


def _turned(
    order: Voxel, flat: int, axis: int, config: PatchConfig, generator: np.random.Generator
) -> Voxel:
    """Returns `order` with the slice axis, or another one, where a patch is one voxel thick."""
    others = order[order != axis]
    thin = axis if generator.random() < config.inside else int(generator.choice(others))
    turned, place = order.copy(), int(np.flatnonzero(order == thin)[0])
    turned[[flat, place]] = order[[place, flat]]
    return turned


def _place(
    scan: SparseScan, config: PatchConfig, generator: np.random.Generator
) -> Callable[[], Voxel]:
    """Draws what then finds an acquired voxel, as indices of the target grid."""
    picks = generator.integers(scan.slices.shape, size=(ATTEMPTS, 3))
    wanted = generator.random() < config.foreground

    def find() -> Voxel:
        inside = scan.slices[tuple(picks.T)] > scan.foreground
        voxel = picks[np.argmax(inside)] if wanted and inside.any() else picks[0]
        place = voxel.copy()
        place[scan.axis] = scan.positions[voxel[scan.axis]]
        return place

    return find
