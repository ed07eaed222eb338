"""The grid that is imputed: the scan's own frame, its slice axis refined."""

import logging
import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mriimpute.errors import ConfigError, VolumeError
from mriimpute.geometry import find_stack, refined, spacing_mm
from mriimpute.io import Scan
from mriimpute.memory import available_bytes, require_memory
from mriimpute.volume import Volume

__all__ = [
    "COARSE",
    "AxisSource",
    "TargetGrid",
    "axis_name",
    "axis_source",
    "axis_warning",
    "refinement",
    "stored_spacing",
    "to_target_grid",
    "upsample",
]

log = logging.getLogger(__name__)

COARSE = 1.5
"""An axis is a slice axis when its spacing is this many times the mean of the other two."""

MAX_SLICES = 32767
"""Voxels along an axis that a NIfTI-1 header can count."""

BYTES_PER_VOXEL = 5
"""An intensity, and whether it is observed."""

ROUNDING = 1e-3
"""Error of spacing ratios that went through float32 headers."""


DIRECTIONS = ("left-right", "posterior-anterior", "inferior-superior")

AxisSource = Literal["header", "voxel size", "missing slices", "none"]
"""What says along which axis slices lie."""


@dataclass(frozen=True, slots=True, eq=False)
class TargetGrid:
    """A scan on the grid where it is imputed.

    Attributes:
        volume: Slice n of the scan is slice `factor * n`; the slices between are unobserved.
        axis: Along which slices lie: refined, or with slices missing.
        factor: Voxels for each voxel of the scan along `axis`; 1 where nothing was refined.
    """

    volume: Volume
    axis: int
    factor: int


def to_target_grid(scan: Scan, spacing_mm: float | None = None) -> TargetGrid:
    """Returns the scan on its target grid, the slices that were skipped unobserved.

    N slices become `factor * (N - 1) + 1`, so acquired slices lie exactly on slices
    of the target grid.

    Args:
        scan: As read.
        spacing_mm: Between slices of the target grid; None: the spacing inside of slices. Where
            it does not divide the slice spacing, the nearest one that does is taken and logged.

    Raises:
        ConfigError: If `spacing_mm` is not positive, larger than the slice spacing or absurdly
            small.
        ResourceError: If there is not enough memory.
        VolumeError: If no voxel is missing.
    """
    axis, factor = refinement(scan.volume, spacing_mm, slice_axis=scan.slice_axis)
    slices = factor * (scan.volume.shape[axis] - 1) + 1
    if slices > MAX_SLICES:
        raise ConfigError(
            f"{scan.path}: that would be {slices:.6g} slices, NIfTI holds {MAX_SLICES}",
            hint="pass a larger --spacing",
        )
    if factor > 1:  # a slip in --spacing may ask for a thousand times the memory that there is
        voxels = scan.volume.data.size // scan.volume.shape[axis] * slices
        require_memory(BYTES_PER_VOXEL * voxels, available_bytes("cpu"), what=str(scan.path))
    volume = scan.volume if factor == 1 else upsample(scan.volume, axis, factor)
    if volume.observed.all():
        shown = f"{stored_spacing(scan)} mm"
        if scan.slice_axis is not None:
            shown += f", slices lie along {axis_name(scan, axis)}"
        raise VolumeError(
            f"{scan.path}: nothing to impute: voxels are {shown} and none is missing",
            hint="pass --spacing for thinner slices, or --observed with the acquired voxels"
            + ("" if axis == _longest(volume) else "; correct the header if slices lie otherwise"),
        )
    if factor == 1 and (stack := find_stack(volume.observed)) is not None:
        axis = stack.axis
    return TargetGrid(volume, axis, factor)


def refinement(
    volume: Volume, spacing_mm: float | None = None, *, slice_axis: int | None = None
) -> tuple[int, int]:
    """Returns the axis of the slices, and how many voxels each voxel along it becomes.

    Args:
        volume: As read.
        spacing_mm: Between slices of the target grid; None: the spacing inside of slices, of
            pixels that are no squares the shorter side.
        slice_axis: What the file says; None: the axis with the largest spacing.

    Raises:
        ConfigError: If `spacing_mm` is not positive or larger than the spacing of slices.
    """
    axis = _longest(volume) if slice_axis is None else slice_axis
    coarse = volume.spacing_mm[axis]
    pixel = [mm for n, mm in enumerate(volume.spacing_mm) if n != axis]
    is_square = slice_axis is None or max(pixel) < COARSE * min(pixel)
    in_plane = sum(pixel) / 2 if is_square else min(pixel)
    if spacing_mm is None:
        is_stack = coarse >= COARSE * in_plane * (1 - ROUNDING)
        return axis, _round_half_up(coarse / in_plane) if is_stack else 1

    if not 0 < spacing_mm <= coarse * (1 + ROUNDING):
        raise ConfigError(
            f"spacing must be above 0 and at most the slice spacing {coarse:.4g} mm, "
            f"got {spacing_mm:g} mm",
            hint="pass a smaller --spacing, or none for the in-plane spacing",
        )
    if slice_axis is None and coarse <= in_plane * (1 + ROUNDING):
        return axis, 1  # cubic voxels: no axis is the slice axis

    factor = _round_half_up(coarse / spacing_mm)
    if abs(coarse / factor - spacing_mm) > ROUNDING * spacing_mm:
        log.info("spacing %g mm does not divide %g mm: %g mm taken", spacing_mm, coarse,
                 coarse / factor)  # fmt: skip
    return axis, factor


def axis_source(scan: Scan, axis: int, factor: int) -> AxisSource:
    """Returns what says that the slices of a scan lie along `axis`, refined by `factor`."""
    if scan.slice_axis == axis:
        return "header"
    if factor > 1:
        return "voxel size"
    return "none" if find_stack(scan.volume.observed) is None else "missing slices"


def axis_warning(scan: Scan) -> str | None:
    """Returns what the user should know where voxels are long along two axes."""
    sizes = np.asarray(scan.volume.spacing_mm)
    if (sizes >= COARSE * sizes.min() * (1 - ROUNDING)).sum() < 2:
        return None
    axis, factor = refinement(scan.volume, slice_axis=scan.slice_axis)
    shown = stored_spacing(scan)
    if factor == 1:
        return f"voxels are coarse along two axes: {shown} mm"
    return (
        f"voxels are coarse along two axes, {shown} mm: slices are taken to lie along "
        f"{axis_name(scan, axis)}, the other axis stays as it is"
    )


def axis_name(scan: Scan, axis: int) -> str:
    """Returns what an axis is called in the file and in space, as in "k (inferior-superior)"."""
    return f"{'ijk'[scan.stored_axis(axis)]} ({DIRECTIONS[axis]})"


def stored_spacing(scan: Scan) -> str:
    """Returns the size of voxels along the axes of the file, as in "1 x 1 x 5"."""
    return " x ".join(f"{mm:.3g}" for mm in spacing_mm(scan.stored_affine))


def _longest(volume: Volume) -> int:
    return int(np.argmax(volume.spacing_mm))


def upsample(volume: Volume, axis: int, factor: int) -> Volume:
    """Returns a volume with `factor - 1` unobserved slices between neighbours along `axis`."""
    shape = list(volume.shape)
    shape[axis] = factor * (shape[axis] - 1) + 1
    acquired = tuple(slice(None, None, factor if n == axis else 1) for n in range(3))

    data = np.full(shape, np.nan, np.float32)
    observed = np.zeros(shape, bool)
    data[acquired] = volume.data
    observed[acquired] = volume.observed
    return replace(
        volume, data=data, observed=observed, affine=refined(volume.affine, axis, factor)
    )


def _round_half_up(ratio: float) -> int:
    return max(1, math.floor(ratio + ROUNDING + 0.5))
