"""Slice stacks completed in the planes that cross their slices, by a model of two axes.

Two families of planes cross a slice, along x and along y. Each is completed on its own, the means
are fused as conditional means (`mriimpute.methods.plane_fusion`), and three things are measured
without truth:

    the std, at each offset of a gap, and how far to go from interpolation to the model, on lines
    hidden inside the scan's own slices (`mriimpute.methods.self_calibration`, and for the std also
    `mriimpute.methods.patches.activity`);
    how the errors of the two families go together, on how far these disagree.

Draws are made in `mriimpute.methods.patches.families`.

Axes: x and y = inside a slice, p = along the slice axis, m = gaps of one size, t = offsets inside
a gap, b = images, n = lines, w = pixels of a line.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray

from mriimpute.cohort.slices import SliceScan
from mriimpute.geometry import Stack
from mriimpute.methods.fusion import correlation
from mriimpute.methods.patches.activity import Measured, measure
from mriimpute.methods.patches.families import LEAST, Completed, Family, correlations_of
from mriimpute.methods.patches.tiling import Place
from mriimpute.methods.patches.work import PatchWork
from mriimpute.methods.plane_fusion import combined, mixed
from mriimpute.methods.self_calibration import FEWEST_ERRORS, calibration_quality

__all__ = ["Worker", "completed", "self_calibrations"]

Image = Float32[np.ndarray, "x y p"]
Lines = NDArray[np.float32]
Hidden = NDArray[np.float32]

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


def completed(
    y: Image,
    filled: Image,
    stack: Stack,
    measured: Mapping[int, Measured],
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
        foreground: Intensity that separates the head from the air.
        patch: Voxels along both axes of a patch.
        worker: Completes a grid.
    """
    along, across = patch
    one, two = (
        Family.of(worker(y, extent)) for extent in ((along, 1, across), (1, along, across))
    )
    mean, variance = 0.5 * (one.mean + two.mean), 0.5 * (one.total + two.total)
    first = np.full_like(mean, 0.5)
    for gap in sorted({gap for gap in stack.gaps if gap > 1}):
        starts = [a for a, size in zip(stack.positions, stack.gaps, strict=False) if size == gap]
        places = np.add.outer(starts, np.arange(1, gap))
        known = measured.get(gap)
        way = np.arange(1, gap, dtype=np.float32) / np.float32(gap)
        before, after = (filled[..., np.add(starts, n), None] for n in (0, gap))
        linear = before + way * (after - before)
        pairs = []
        for axis, family in enumerate((one, two)):
            own = family.total[..., places]
            if known:
                own = known.variance(own, before[..., 0], after[..., 0], axis)
            pairs += [family.mean[..., places], np.maximum(own, np.float32(LEAST))]
        a, va, b, vb = (torch.from_numpy(np.ascontiguousarray(part)) for part in pairs)
        smooth = torch.from_numpy(linear)
        head = smooth > foreground
        fused, alone, shared, moments = combined(a, va, b, vb, smooth, counted=head, distances=3)
        _, fractions = mixed(a, b, smooth, counted=head, distances=3)
        there = filled[..., places]
        shrinkage = known.calibration.shrinkage if known else np.float32(1)
        mean[..., places] = there + shrinkage * (fused.numpy() - there)
        variance[..., places] = alone.numpy() + correlation(moments) * shared.numpy()
        first[..., places] = fractions.cpu().numpy()
    calibrations = {gap: one.calibration for gap, one in measured.items()}
    return Completed(
        (one, two),
        (first, 1 - first),
        mean,
        variance,
        correlations_of(calibrations),
        {"gaps": calibration_quality(calibrations), "interpolated_share": 0.0},
    )


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
