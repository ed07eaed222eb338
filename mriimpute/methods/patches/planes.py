"""Slice stacks completed in the planes that cross their slices, by a model of two axes.

Two families of planes cross a slice, along x and along y. Each is completed on its own, the means
are fused as conditional means (`mriimpute.methods.plane_fusion`), and three things are measured
without truth:

    the std, at each offset of a gap, and how far to go from interpolation to the model, on lines
    hidden inside the scan's own slices (`mriimpute.methods.self_calibration`);
    how the errors of the two families go together, on how far these disagree.

With T the calibrated variance of a voxel, m its mean, d_n and e_n what draw n of either family
departs from its mean, f and 1 - f their shares in m, and V the variance of what they make
together,

    draw n    y_n = m + c (f d_n + (1 - f) e_n) + sqrt(T - c^2 V) noise_n,    c^2 V <= 0.9 T

where the noise goes together as errors on hidden lines do.

Axes: x and y = inside a slice, p = along the slice axis, m = gaps of one size, t = offsets inside
a gap, b = images, n = lines, w = pixels of a line.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray

from mriimpute.cohort.slices import SliceScan
from mriimpute.geometry import Stack
from mriimpute.methods.fusion import correlation
from mriimpute.methods.noise import ErrorCorrelation
from mriimpute.methods.patches.tiling import Place
from mriimpute.methods.patches.work import PatchWork
from mriimpute.methods.plane_fusion import combined, mixed
from mriimpute.methods.self_calibration import (
    FEWEST_ERRORS,
    SelfCalibration,
    calibrate,
    hidden_predictions,
)

__all__ = ["Family", "Planes", "completed", "self_calibrations"]

Image = Float32[np.ndarray, "x y p"]
Lines = Float32[np.ndarray, "b n w"]
Hidden = Float32[np.ndarray, "b t m w"]

Worker = Callable[[Image, Place], PatchWork]
"""Returns what completes a grid, by patches of an extent."""

MOST = 0.9
"""Of the variance, that draws of latent variables make up."""

LEAST = 1e-12
"""Variance of a voxel: fusion divides by it."""


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """One family of planes.

    Attributes:
        work: Gives draws of the latent variables.
        mean: Of the voxels.
        latent: Variance of the mean given z.
        ratio: What a blended draw's departure from the mean is multiplied by, see `PatchWork`.
        total: Variance of the voxels, as the model has it.
    """

    work: PatchWork
    mean: Image
    latent: Image
    ratio: Image
    total: Image

    @classmethod
    def of(cls, work: PatchWork) -> "Family":
        """Returns a family of planes, completed."""
        mean, within, between, ratio, noise = work.moments()
        return cls(work, mean, within, ratio, within + between + noise)

    def departure(self, number: int) -> Image:
        """Returns what a draw departs from the mean, without the noise of voxels."""
        return self.ratio * (self.work.latent_draw(number) - self.mean)


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """What both families say.

    Attributes:
        families: Along x and along y.
        mean: Of the voxels, normalised.
        variance: The same.
        first: Share of the first family in the mean.
        correlations: How errors go together, by size of the gap.
    """

    families: tuple[Family, Family]
    mean: Image
    variance: Image
    first: Image
    correlations: Mapping[int, ErrorCorrelation] = field(default_factory=dict)

    def latent_variance(self) -> Image:
        """Returns V."""
        one, two = self.families
        return self.first**2 * one.latent + (1 - self.first) ** 2 * two.latent

    def latent_scale(self) -> Image:
        """Returns c."""
        most = MOST * self.variance / np.maximum(self.latent_variance(), np.float32(LEAST))
        return np.sqrt(np.minimum(most, 1))

    def departure(self, number: int) -> Image:
        """Returns f d_n + (1 - f) e_n."""
        one, two = self.families
        return self.first * one.departure(number) + (1 - self.first) * two.departure(number)


def self_calibrations(
    scan: SliceScan, gaps: set[int], patch: tuple[int, ...], worker: Worker
) -> dict[int, SelfCalibration]:
    """Returns how planes do on lines hidden inside slices, by gap; too few errors are left out."""
    measured = {}
    for gap in sorted(gaps):

        def predict(context: Lines, turn: bool, gap: int = gap) -> tuple[Hidden, Hidden]:
            return _between_lines(context, gap, patch, worker)

        one = calibrate(list(hidden_predictions(scan, gap, predict)), gap)
        if one.errors.fewest() >= FEWEST_ERRORS:
            measured[gap] = one
    return measured


def completed(
    y: Image,
    filled: Image,
    stack: Stack,
    measured: Mapping[int, SelfCalibration],
    foreground: float,
    patch: tuple[int, ...],
    worker: Worker,
) -> Planes:
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
        factor, shrinkage = _factors(measured.get(gap), gap)
        way = np.arange(1, gap, dtype=np.float32) / np.float32(gap)
        before, after = (filled[..., np.add(starts, n), None] for n in (0, gap))
        linear = before + way * (after - before)
        a, va, b, vb = (
            torch.from_numpy(np.ascontiguousarray(part))
            for family in (one, two)
            for part in (
                family.mean[..., places],
                np.maximum(factor**2 * family.total[..., places], np.float32(LEAST)),
            )
        )
        smooth = torch.from_numpy(linear)
        head = smooth > foreground
        fused, alone, shared, moments = combined(a, va, b, vb, smooth, counted=head, distances=3)
        _, fractions = mixed(a, b, smooth, counted=head, distances=3)
        there = filled[..., places]
        mean[..., places] = there + shrinkage * (fused.numpy() - there)
        variance[..., places] = alone.numpy() + correlation(moments) * shared.numpy()
        first[..., places] = fractions.cpu().numpy()
    correlations = {
        gap: found
        for gap, each in measured.items()
        if (found := each.inner.correlation() or each.errors.correlation())
    }
    return Planes((one, two), mean, variance, first, correlations)


def _factors(
    one: SelfCalibration | None, gap: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns what the std is multiplied by, and how far to go to the model, at each offset."""
    if one is None:
        ones = np.ones(gap - 1, np.float32)
        return ones, ones
    return one.errors.deviation().astype(np.float32), one.shrinkage


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
