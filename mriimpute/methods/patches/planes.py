"""Slice stacks completed in the planes that cross their slices, by a model of two axes.

Two families of planes cross a slice, along x and along y. Each is completed on its own, the means
are fused as conditional means (`mriimpute.methods.plane_fusion`), and four things are measured
without truth:

    the std, at each offset of a gap, and how far to go from interpolation to the model, on lines
    hidden inside the scan's own slices (`mriimpute.methods.self_calibration`, and for the std also
    `mriimpute.methods.patches.activity`);
    how the errors of the two families go together, on how far these disagree;
    by how much errors across slices differ from those inside, on slices that are left out
    (`mriimpute.methods.left_out`).

Draws are made in `mriimpute.methods.patches.families`.

Axes: x and y = inside a slice, p = along the slice axis, m = gaps of one size, t = offsets inside
a gap, b = images, n = lines, w = pixels of a line.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray

from mriimpute.cohort.slices import SliceScan
from mriimpute.geometry import Stack
from mriimpute.methods.fusion import correlation
from mriimpute.methods.left_out import (
    FEWEST_SLICES,
    LeftOut,
    LeftOutErrors,
    left_out_quality,
    pixel_step,
)
from mriimpute.methods.lines import pchip_between
from mriimpute.methods.patches.activity import Measured, measure
from mriimpute.methods.patches.families import LEAST, Completed, Family, correlations_of
from mriimpute.methods.patches.tiling import Place
from mriimpute.methods.patches.work import PatchWork
from mriimpute.methods.plane_fusion import combined, mixed
from mriimpute.methods.self_calibration import FEWEST_ERRORS, calibration_quality

__all__ = ["Worker", "completed", "on_left_out_slices", "self_calibrations"]

Image = Float32[np.ndarray, "x y p"]
Lines = NDArray[np.float32]
Hidden = NDArray[np.float32]
Between = Float32[np.ndarray, "x y m t"]

Worker = Callable[[Image, Place], PatchWork]
"""Returns what completes a grid, by patches of an extent."""


def self_calibrations(
    scan: SliceScan, gaps: set[int], patch: tuple[int, ...], worker: Worker
) -> dict[int, Measured]:
    """Returns how planes do on lines hidden inside slices, by gap; too few errors are left out."""
    measured = {}
    for gap in sorted(gaps):

        def predict(context: Lines, turn: bool, gap: int = gap) -> tuple[Hidden, Hidden]:
            return _between_lines(context, gap, patch, worker)

        if one := measure(scan, gap, predict, fewest=FEWEST_ERRORS):
            measured[gap] = one
    return measured


def on_left_out_slices(
    y: Image,
    filled: Image,
    stack: Stack,
    scan: SliceScan,
    patch: tuple[int, ...],
    worker: Worker,
) -> dict[int, LeftOut]:
    """Returns how planes do on every second slice, left out, by gap; empty where too few tell.

    Some planes alone are completed, and looked at where they meet.

    Args:
        y: Normalised, slices across the last axis, NaN where missing.
        filled: The same, interpolated.
        stack: Where slices lie on that axis.
        scan: The slices.
        patch: Voxels along both axes of a patch.
        worker: Completes a grid.
    """
    gaps = set(stack.gaps)
    if len(stack.positions) < FEWEST_SLICES or len(gaps) > 1 or min(gaps) < 2:
        return {}
    gap, wide = min(gaps), 2 * min(gaps)
    known = self_calibrations(scan, {wide}, patch, worker).get(wide)
    if known is None:
        return {}
    kept = list(stack.positions[::2])
    shown = np.full_like(y[..., : kept[-1] + 1], np.nan)
    shown[..., kept] = y[..., kept]
    step = pixel_step(scan.pixel_mm)
    every = slice(None, None, step)
    some: tuple[tuple[slice, ...], ...] = (slice(None), every), (every,)
    a, b = (
        _between_slices(
            Family.of(worker(np.ascontiguousarray(shown[part]), extent)),
            filled[part],
            kept[:-1],
            wide,
            known,
            axis,
        )
        for axis, (part, extent) in enumerate(zip(some, _extents(patch), strict=True))
    )
    lines = filled[::step, ::step, kept]
    one, two = ([part[::step] for part in a], [part[:, ::step] for part in b])
    fused = _fused(one, two, lines[..., :-1], lines[..., 1:], scan.foreground)
    pchip = pchip_between(lines.transpose(0, 2, 1), wide)[:, gap - 1].transpose(0, 2, 1)
    mean, variance, linear = (part[..., gap - 1] for part in fused[:3])
    mean = pchip + known.calibration.shrinkage[gap - 1] * (mean - pchip)
    missed = y[::step, ::step, [place + gap for place in kept[:-1]]]
    errors = LeftOutErrors()
    errors.add(missed, mean, variance, linear, pchip, scan.foreground)
    found = errors.result(wide, known.calibration.shrinkage)
    return {gap: found} if found else {}


def completed(
    y: Image,
    filled: Image,
    stack: Stack,
    measured: Mapping[int, Measured],
    left_out: Mapping[int, LeftOut],
    foreground: float,
    patch: tuple[int, ...],
    worker: Worker,
) -> Completed:
    """Returns the mean and the variance of all voxels.

    Args:
        y: Normalised, slices across the last axis, NaN where missing.
        filled: The same, interpolated: what the mean is shrunk to.
        stack: Where slices lie on that axis.
        measured: By gap; without it the model is believed.
        left_out: By gap, how it does on slices that were left out.
        foreground: Intensity that separates the head from the air.
        patch: Voxels along both axes of a patch.
        worker: Completes a grid.
    """
    one, two = (Family.of(worker(y, extent)) for extent in _extents(patch))
    mean, variance = 0.5 * (one.mean + two.mean), 0.5 * (one.total + two.total)
    first = np.full_like(mean, 0.5)
    for gap in sorted({gap for gap in stack.gaps if gap > 1}):
        starts = [a for a, size in zip(stack.positions, stack.gaps, strict=False) if size == gap]
        places = np.add.outer(starts, np.arange(1, gap))
        known = measured.get(gap)
        a, b = (
            _between_slices(family, filled, starts, gap, known, axis)
            for axis, family in enumerate((one, two))
        )
        before, after = (filled[..., np.add(starts, n)] for n in (0, gap))
        fused = _fused(a, b, before, after, foreground)
        there = filled[..., places]
        shrinkage = known.calibration.shrinkage if known else np.float32(1)
        correction = left_out[gap].correction if gap in left_out else 1.0
        mean[..., places] = there + shrinkage * (fused.mean - there)
        variance[..., places] = np.float32(correction**2) * fused.variance
        first[..., places] = fused.first
    calibrations = {gap: one.calibration for gap, one in measured.items()}
    return Completed(
        (one, two),
        (first, 1 - first),
        mean,
        variance,
        correlations_of(calibrations),
        {
            "gaps": calibration_quality(calibrations),
            "left_out_slices": left_out_quality(left_out),
            "interpolated_share": 0.0,
        },
    )


class _Fused(NamedTuple):
    """Two families made one.

    Attributes:
        mean: Of the voxels between slices.
        variance: Of these.
        linear: Their linear interpolation.
        first: How much of the mean comes from the first family, at each offset.
    """

    mean: Between
    variance: Between
    linear: Between
    first: Float32[np.ndarray, " t"]


def _extents(patch: tuple[int, ...]) -> tuple[Place, Place]:
    """Returns the voxels of a patch of each family, slices across the last axis."""
    along, across = patch
    return (along, 1, across), (1, along, across)


def _between_slices(
    family: Family,
    lines: Image,
    starts: Sequence[int],
    gap: int,
    known: Measured | None,
    axis: int,
) -> tuple[Between, Between]:
    """Returns the mean and the variance of a family between slices.

    Args:
        family: Of planes in which lines lie along an axis.
        lines: The grid, finite in slices.
        starts: Slices where a gap begins.
        gap: From there to the next slice, in voxels.
        known: What hidden lines say; None to believe the model.
        axis: Along the lines.
    """
    places = np.add.outer(starts, np.arange(1, gap))
    own = family.total[..., places]
    if known:
        before, after = (lines[..., np.add(starts, n)] for n in (0, gap))
        own = known.variance(own, before, after, axis)
    return family.mean[..., places], np.maximum(own, np.float32(LEAST))


def _fused(
    one: Sequence[Between],
    two: Sequence[Between],
    before: Lines,
    after: Lines,
    foreground: float,
) -> _Fused:
    """Returns what both families say together.

    Args:
        one: Mean and variance of the first one.
        two: Those of the second.
        before: Slices on one side.
        after: Those on the other.
        foreground: Intensity that separates the head from the air.
    """
    gap = one[0].shape[-1] + 1
    way = np.arange(1, gap, dtype=np.float32) / np.float32(gap)
    linear = before[..., None] + way * (after - before)[..., None]
    a, va, b, vb, smooth = (
        torch.from_numpy(np.ascontiguousarray(part)) for part in (*one, *two, linear)
    )
    head = smooth > foreground
    fused, alone, shared, moments = combined(a, va, b, vb, smooth, counted=head, distances=3)
    _, fractions = mixed(a, b, smooth, counted=head, distances=3)
    variance = alone.numpy() + correlation(moments) * shared.numpy()
    return _Fused(fused.numpy(), variance, linear, fractions.numpy())


def _between_lines(
    context: Lines, gap: int, patch: tuple[int, ...], worker: Worker
) -> tuple[Hidden, Hidden]:
    """Returns the mean and the variance of a model between lines, as it has them."""
    images, lines, width = context.shape
    grid = np.full((width, images, (lines - 1) * gap + 1), np.nan, np.float32)
    grid[..., ::gap] = context.transpose(2, 0, 1)
    family = Family.of(worker(grid, (patch[0], 1, patch[1])))

    def hidden(part: Image) -> Hidden:
        inside = part[..., :-1].reshape(width, images, lines - 1, gap)[..., 1:]
        return np.ascontiguousarray(inside.transpose(1, 3, 2, 0))

    return hidden(family.mean), np.maximum(hidden(family.total), np.float32(LEAST))
