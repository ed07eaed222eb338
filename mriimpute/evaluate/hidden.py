"""Questions without truth: part of what a scan acquired is hidden, and is the answer.

"slices": every second acquired slice is hidden. Methods fill the grid that they would fill in
real use, and are scored on the hidden slices only.
"x", "y": slices keep one line in so many along one of their two axes, as many as slices are
voxels apart. They stay as far apart as they are: what can be filled in 2D, is.

What is hidden is NaN in the question, and no choice of voxels depends on it.

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
from mriimpute.evaluate.protocol import LINES, SLICES
from mriimpute.evaluate.test_case import DATA_RANGE_PERCENTILE, SparseScan, TestCase
from mriimpute.geometry import Stack, find_stack
from mriimpute.interpolation import interpolated
from mriimpute.io import checksum, read_scan
from mriimpute.methods.base import Imputation, Imputer
from mriimpute.volume import Volume

__all__ = ["Finer", "Hidden", "HiddenScan", "read_hidden"]

Hidden = Literal["slices", "x", "y"]
Image = Float32[np.ndarray, "i j k"]

OTHERS = "leave it out, or pass scans with skipped slices"


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenScan(SparseScan):
    """A sparse scan, and what of it is hidden: slices, or lines along an axis inside of them."""

    hidden: Hidden


class Finer(Imputer):
    """Fills the grid that another method fills in real use, and tells of acquired slices only.

    Args:
        imputer: The other method.
        axis: Along which slices were skipped.
        factor: Voxels of its grid for each slice.
    """

    def __init__(self, imputer: Imputer, axis: int, factor: int) -> None:
        self.name, self.device, self.gives_draws = (
            imputer.name,
            imputer.device,
            imputer.gives_draws,
        )
        self.imputer = imputer
        self.axis = axis
        self.factor = factor

    def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
        """Returns what the method says of the voxels of `volume`."""
        fine = upsample(volume, self.axis, self.factor)
        answer = self.imputer.impute(fine, seed=seed, case=case)
        some = _every(self.factor, self.axis)
        draw, std, density = answer.draw, answer.std, answer.log_density

        def log_density(truth: Image, region: Bool[np.ndarray, "i j k"]) -> float:
            fine_truth = np.full(fine.shape, np.nan, np.float32)
            fine_region = np.zeros(fine.shape, bool)
            fine_truth[some], fine_region[some] = truth, region
            return math.nan if density is None else density(fine_truth, fine_region)

        return replace(
            answer,
            mean=answer.mean[some],
            std=None if std is None else std[some],
            draw=None if draw is None else lambda number: draw(number)[some],
            log_density=None if density is None else log_density,
        )


def read_hidden(scan: HiddenScan) -> TestCase:
    """Returns the question that is left when part of a scan is hidden, and the answer.

    Raises:
        VolumeError: If the scan cannot be read, is no stack of equally spaced slices, or is too
            small to hide anything.
    """
    acquired, axis, factor = _acquired(scan)
    along = {"slices": axis, "x": _inside(axis)[0], "y": _inside(axis)[1]}[scan.hidden]
    every = 2 if scan.hidden == "slices" else factor
    length = every * ((acquired.shape[along] - 1) // every) + 1
    if length <= every:
        raise VolumeError(
            f"{scan.path}: {acquired.shape[along]} {_WHAT[scan.hidden]} are too few to hide any",
            hint=OTHERS,
        )

    acquired = _cut(acquired, along, length)
    observed = np.zeros(acquired.shape, bool)
    observed[_every(every, along)] = True
    observed &= acquired.observed
    shown = np.where(observed, acquired.data, np.float32(np.nan))
    question = replace(acquired, data=shown, observed=observed)
    stack, head = find_stack(observed), _head(question)
    region = head & acquired.observed & ~observed
    if stack is None or stack.axis != along or not region.any():
        raise VolumeError(f"{scan.path}: no head is left to hide parts of", hint=OTHERS)

    return TestCase(
        source=scan,
        checksum=f"{checksum(scan.path)}-{scan.hidden}",
        volume=question,
        stack=stack,
        truth=acquired.data,
        brain=head,
        region=region,
        data_range=_data_range(scan, acquired.data[head & acquired.observed]),
        protocol=SLICES if scan.hidden == "slices" else LINES,
        refinement=factor if scan.hidden == "slices" else 1,
    )


_WHAT = {"slices": "slices", "x": "lines", "y": "lines"}


def _acquired(scan: HiddenScan) -> tuple[Volume, int, int]:
    """Returns the acquired slices as a grid of their own, its slice axis, and voxels per slice."""
    volume = read_scan(scan.path, observed=observed_beside(scan.path)).volume
    axis, factor = refinement(volume)
    if factor > 1:
        return volume, axis, factor

    stack = find_stack(volume.observed)
    if stack is None or len(set(stack.gaps)) > 1:
        raise VolumeError(f"{scan.path} is no stack of equally spaced slices", hint=OTHERS)
    return _gathered(volume, stack), stack.axis, stack.gaps[0]


def _gathered(volume: Volume, stack: Stack) -> Volume:
    positions = list(stack.positions)
    affine = volume.affine.copy()
    affine[:3, 3] += positions[0] * affine[:3, stack.axis]
    affine[:3, stack.axis] *= stack.gaps[0]
    data, observed = (part.take(positions, stack.axis) for part in (volume.data, volume.observed))
    return Volume(data, observed, affine)


def _cut(volume: Volume, axis: int, length: int) -> Volume:
    part = tuple(slice(0, length if n == axis else None) for n in range(3))
    return replace(volume, data=volume.data[part], observed=volume.observed[part])


def _head(question: Volume) -> Bool[np.ndarray, "i j k"]:
    """Returns where linear interpolation of what is shown is no air."""
    norm = normalisation(question)
    level = foreground_level(norm.apply(question.data[question.observed]))
    head: Bool[np.ndarray, "i j k"] = norm.apply(interpolated(question, "linear")) > level
    return head


def _data_range(scan: HiddenScan, values: Float32[np.ndarray, " n"]) -> float:
    found = float(np.percentile(values, DATA_RANGE_PERCENTILE))
    if found <= 0:
        raise VolumeError(f"{scan.path} is dark: no score has a scale there", hint=OTHERS)
    return found


def _inside(axis: int) -> tuple[int, int]:
    first, second = (n for n in range(3) if n != axis)
    return first, second


def _every(step: int, axis: int) -> tuple[slice, slice, slice]:
    i, j, k = (slice(None, None, step if n == axis else 1) for n in range(3))
    return i, j, k
