"""Test cases without truth: part of what a scan acquired is hidden, and predicted.

"slices": every second acquired slice is hidden. Methods fill the grid that they would fill in
real use, and are scored on the hidden slices only.
"x", "y": slices keep one line in so many along one of their two axes, as many as slices are
voxels apart. They stay as far apart as they are: what can be filled in 2D, is.

What is hidden is NaN in the volume that methods are given, and no choice of voxels depends on it.

Axes: i, j, k = voxel indices.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32

from mriimpute.cohort import normalisation, observed_beside
from mriimpute.cohort.foreground import foreground_level
from mriimpute.cohort.target_grid import refinement, upsample
from mriimpute.errors import VolumeError
from mriimpute.evaluation.case import (
    DATA_RANGE_PERCENTILE,
    SparseScan,
    TestCase,
    require_contrast,
)
from mriimpute.evaluation.protocol import LINES, SLICES
from mriimpute.geometry import Stack, find_stack
from mriimpute.interpolation import interpolated
from mriimpute.io import checksum, read_scan, warn_of_contents
from mriimpute.methods.base import Imputation, Imputer
from mriimpute.volume import Volume

__all__ = ["Hidden", "HiddenScan", "TargetGridImputer", "read_hidden"]

Hidden = Literal["slices", "x", "y"]
Image = Float32[np.ndarray, "i j k"]
Region = Bool[np.ndarray, "i j k"]

HINT = "leave it out, or pass scans with skipped slices"


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenScan(SparseScan):
    """A sparse scan, and what of it is hidden: slices, or lines along an axis inside of them."""

    hidden: Hidden


class TargetGridImputer(Imputer):
    """Fills the grid that another method fills in real use, and returns acquired slices only.

    Args:
        imputer: The other method.
        axis: Along which slices were skipped.
        factor: Voxels of the target grid for each slice.
    """

    def __init__(self, imputer: Imputer, axis: int, factor: int) -> None:
        self.name = imputer.name
        self.device = imputer.device
        self.gives_draws = imputer.gives_draws
        self.imputer = imputer
        self.axis = axis
        self.factor = factor

    def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
        """Returns what the method predicts of the voxels of `volume`."""
        target = upsample(volume, self.axis, self.factor)
        imputation = self.imputer.impute(target, seed=seed, case=case)
        slices = _every_nth(self.factor, self.axis)
        draw, std, density = imputation.draw, imputation.std, imputation.log_density

        def log_density(truth: Image, region: Region) -> float:
            target_truth = np.full(target.shape, np.nan, np.float32)
            target_region = np.zeros(target.shape, bool)
            target_truth[slices], target_region[slices] = truth, region
            return math.nan if density is None else density(target_truth, target_region)

        return replace(
            imputation,
            mean=imputation.mean[slices],
            std=None if std is None else std[slices],
            draw=None if draw is None else lambda number: draw(number)[slices],
            log_density=None if density is None else log_density,
        )


def read_hidden(scan: HiddenScan) -> TestCase:
    """Returns the test case that hides part of a scan.

    Raises:
        VolumeError: If the scan cannot be read, is no stack of equally spaced slices, or is too
            small to hide anything.
    """
    acquired, axis, factor = _acquired(scan)
    of_slices = scan.hidden == "slices"
    first, second = (n for n in range(3) if n != axis)
    along = {"slices": axis, "x": first, "y": second}[scan.hidden]
    step = 2 if of_slices else factor
    length = step * ((acquired.shape[along] - 1) // step) + 1
    if length <= step:
        unit = "slices" if of_slices else "lines"
        raise VolumeError(
            f"{scan.path}: {acquired.shape[along]} {unit} are too few to hide any", hint=HINT
        )

    acquired = _cut(acquired, along, length)
    sparse = _hide(acquired, along, step)
    require_contrast(sparse.data[sparse.observed], scan.path)
    stack, head = find_stack(sparse.observed), _head(sparse)
    region = head & acquired.observed & ~sparse.observed
    if stack is None or stack.axis != along or not region.any():
        raise VolumeError(f"{scan.path}: no head is left to hide parts of", hint=HINT)
    require_contrast(acquired.data[region], scan.path)

    return TestCase(
        source=scan,
        checksum=f"{checksum(scan.path)}-{scan.hidden}",
        volume=sparse,
        stack=stack,
        truth=acquired.data,
        brain=head,
        region=region,
        data_range=_data_range(scan, acquired.data[head & acquired.observed]),
        protocol=SLICES if of_slices else LINES,
        refinement=factor if of_slices else 1,
    )


def _acquired(scan: HiddenScan) -> tuple[Volume, int, int]:
    """Returns the acquired slices as a grid of their own, its slice axis, and voxels per slice."""
    stored = read_scan(scan.path, observed=observed_beside(scan.path))
    warn_of_contents(stored)
    volume = stored.volume
    axis, factor = refinement(volume, slice_axis=stored.slice_axis)
    if factor > 1:
        return volume, axis, factor

    stack = find_stack(volume.observed)
    if stack is None or len(set(stack.gaps)) > 1:
        raise VolumeError(f"{scan.path} is no stack of equally spaced slices", hint=HINT)
    return _only_slices(volume, stack), stack.axis, stack.gaps[0]


def _only_slices(volume: Volume, stack: Stack) -> Volume:
    """Returns the acquired slices of a stack, one after the other."""
    positions = list(stack.positions)
    affine = volume.affine.copy()
    affine[:3, 3] += positions[0] * affine[:3, stack.axis]
    affine[:3, stack.axis] *= stack.gaps[0]
    data, observed = (part.take(positions, stack.axis) for part in (volume.data, volume.observed))
    return Volume(data, observed, affine)


def _cut(volume: Volume, axis: int, length: int) -> Volume:
    part = tuple(slice(0, length if n == axis else None) for n in range(3))
    return replace(volume, data=volume.data[part], observed=volume.observed[part])


def _hide(acquired: Volume, axis: int, step: int) -> Volume:
    """Returns a volume of which every `step`-th slice, or line, along `axis` is left."""
    observed = np.zeros(acquired.shape, bool)
    observed[_every_nth(step, axis)] = True
    observed &= acquired.observed
    data = np.where(observed, acquired.data, np.float32(np.nan))
    return replace(acquired, data=data, observed=observed)


def _head(sparse: Volume) -> Region:
    """Returns where linear interpolation of what is not hidden is no air."""
    norm = normalisation(sparse)
    level = foreground_level(norm.apply(sparse.data[sparse.observed]))
    head: Region = norm.apply(interpolated(sparse, "linear")) > level
    return head


def _data_range(scan: HiddenScan, values: Float32[np.ndarray, " n"]) -> float:
    data_range = float(np.percentile(values, DATA_RANGE_PERCENTILE))
    if data_range <= 0:
        raise VolumeError(f"{scan.path} is dark: no score has a scale there", hint=HINT)
    return data_range


def _every_nth(step: int, axis: int) -> tuple[slice, slice, slice]:
    i, j, k = (slice(None, None, step if n == axis else 1) for n in range(3))
    return i, j, k
