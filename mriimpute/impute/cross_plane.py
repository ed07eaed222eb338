"""`cross-plane`: imputes a slice stack with a network that learnt inside slices.

Two planes cross the slices at each voxel, and in each the acquired slices are lines. The network
fills the space between the lines of every such image; the two predictions of a voxel are fused as
in `mriimpute.impute.fusion`.

Axes: p = along the slice axis, x and y = inside a slice, s = acquired slices of a run of equal
gaps, m = s - 1 gaps, t = distances inside a gap.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from torch import Tensor

from mriimpute.checkpoint import restore
from mriimpute.config import parse
from mriimpute.data import normalisation
from mriimpute.data.lines import hide
from mriimpute.data.slices import SliceScan, acquired_slices
from mriimpute.geometry import Stack, find_stack
from mriimpute.impute._contract import Imputation, Imputer
from mriimpute.impute.fusion import Fused, correlation, fused
from mriimpute.impute.interpolate import interpolated
from mriimpute.impute.noise import Texture, texture, textured
from mriimpute.impute.variogram import spread_by_distance
from mriimpute.inference.cross_plane_network import Config, build, predict
from mriimpute.nn.lines import LineNetwork
from mriimpute.volume import Volume

__all__ = ["CrossPlane"]

log = logging.getLogger(__name__)

Slabs = Float32[np.ndarray, "p x y"]
Planes = Float32[np.ndarray, "m t x y"]

PROBES = 8
"""Slices on which the texture of errors is measured."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Acquired slices that follow each other at equal distances.

    Attributes:
        positions: Of the slices on the fine grid; at least two.
        gap: From one to the next, in voxels.
    """

    positions: tuple[int, ...]
    gap: int


class CrossPlane(Imputer):
    """Fills the gaps of a slice stack; elsewhere it interpolates.

    Args:
        network: Trained.
        factors: What the spread is multiplied by, per distance, for each gap that it knows.
        device: Where it computes.
    """

    name = "cross-plane"

    def __init__(
        self, network: LineNetwork, factors: Mapping[int, NDArray[np.float32]], *, device: str
    ) -> None:
        self.network = network.to(device).eval().requires_grad_(requires_grad=False)
        self.factors = dict(factors)
        self.device = device

    @classmethod
    def from_checkpoint(
        cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], *, device: str
    ) -> "CrossPlane":
        """Returns the imputer of a model file, as read by `mriimpute.checkpoint.load`.

        Raises:
            CheckpointError: If the weights do not fit the network.
            ConfigError: If a setting is unknown or ill-typed.
            ValueError: If a factor does not fit its gap.
        """
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "factor": {}}
        for key, tensor in tensors.items():
            part, _, name = key.partition(".")
            parts[part][name] = tensor
        network = build(parse(Config, metadata["model"], where="model"), seed=0)
        restore(network, parts["network"], where="the model file")

        factors = {int(gap): factor.numpy() for gap, factor in parts["factor"].items()}
        for gap, factor in factors.items():
            if factor.shape != (gap - 1,):
                raise ValueError(f"factor.{gap} must have shape {(gap - 1,)}, got {factor.shape}")
        return cls(network, factors, device=device)

    def impute(
        self, volume: Volume, *, seed: int, case: str, tile: int, keep_observed: bool = True
    ) -> Imputation:
        """Returns the completed volume. Whole lines are seen at once, so nothing is tiled."""
        filled = interpolated(volume, "pchip")
        stack = find_stack(volume.observed)
        if stack is None:
            log.warning("this is no slice stack: missing voxels are interpolated")
            std = spread_by_distance(volume, ~volume.observed)
            whole = Stack(2, tuple(range(volume.shape[2])))
            return textured(volume, filled, std, whole, {}, seed, case)

        norm = normalisation(volume)
        slabs = norm.apply(np.moveaxis(filled, stack.axis, 0))
        mean, variance = self._filled(slabs, self._runs(stack), volume.spacing_mm, stack.axis)
        ours = np.moveaxis(variance > 0, 0, stack.axis) & ~volume.observed
        filled = np.where(ours, norm.undo(np.moveaxis(mean, 0, stack.axis)), filled)
        std = np.sqrt(np.moveaxis(variance, 0, stack.axis)) * np.float32(norm.scale)
        std = np.where(ours, std, spread_by_distance(volume, ~volume.observed & ~ours))

        scan = acquired_slices(volume, case)
        textures = {}
        for gap in {gap for gap in stack.gaps if gap > 1}:
            known = self._texture(scan, gap) if scan and gap in self.factors else None
            textures[gap] = known or Texture(0.0, np.eye(gap - 1))
        return textured(volume, filled, std, stack, textures, seed, case)

    def _runs(self, stack: Stack) -> list[_Run]:
        """Returns the runs of gaps that the network knows."""
        runs, start = [], 0
        for gap, group in groupby(stack.gaps):
            count = len(list(group))
            if gap in self.factors:
                runs.append(_Run(stack.positions[start : start + count + 1], gap))
            start += count
        if unknown := sorted({*stack.gaps} - {1, *self.factors}):
            known = sorted(self.factors)
            log.warning("the model knows gaps of %s voxels, not %s: interpolated", known, unknown)
        return runs

    def _filled(
        self, slabs: Slabs, runs: Sequence[_Run], spacing_mm: tuple[float, ...], axis: int
    ) -> tuple[Slabs, Slabs]:
        """Returns the means and the variances; the latter are 0 where nothing was predicted."""
        sizes = (spacing_mm[axis], *(mm for n, mm in enumerate(spacing_mm) if n != axis))
        mean, variance = slabs.copy(), np.zeros_like(slabs)
        found = [self._fused(slabs[list(run.positions)], run.gap, sizes) for run in runs]
        for gap in {run.gap for run in runs}:
            alike = [(run, f) for run, f in zip(runs, found, strict=True) if run.gap == gap]
            weights = [len(run.positions) - 1 for run, _ in alike]
            common = correlation(np.average([f.moments for _, f in alike], 0, weights))
            for run, f in alike:
                total = f.alone + common[:, None, None] * f.shared
                _write(mean, run, f.mean)
                _write(variance, run, total)
        return mean, variance

    def _fused(self, slices: Slabs, gap: int, sizes_mm: tuple[float, ...]) -> Fused:
        """Returns what both planes say about the gaps between slices.

        Args:
            slices: Equally spaced.
            gap: From one to the next, in voxels.
            sizes_mm: Of a voxel, across slices and along x and y.
        """
        across_mm, x_mm, y_mm = sizes_mm
        a, va = self._plane(slices.transpose(2, 0, 1), gap, across_mm, x_mm)
        b, vb = self._plane(slices.transpose(1, 0, 2), gap, across_mm, y_mm)
        a, va = a.transpose(2, 1, 3, 0), va.transpose(2, 1, 3, 0)
        b, vb = b.transpose(2, 1, 0, 3), vb.transpose(2, 1, 0, 3)
        return fused(a, va, b, vb, distances=1)

    def _plane(
        self, lines: Float32[np.ndarray, "b n w"], gap: int, across_mm: float, along_mm: float
    ) -> tuple[Float32[np.ndarray, "b t m w"], Float32[np.ndarray, "b t m w"]]:
        """Returns the mean and the calibrated variance between the lines of images."""
        mean, std = predict(
            self.network,
            np.ascontiguousarray(lines),
            gap,
            gap_mm=gap * across_mm,
            along_mm=along_mm,
        )
        return mean, np.square(std * self.factors[gap][:, None, None])

    def _texture(self, scan: SliceScan, gap: int) -> Texture | None:
        """Returns how standardised errors on lines hidden in the scan's own slices correlate.

        None where its slices are too small to hide a line in, or constant.
        """
        within, beside = np.zeros((gap - 1, gap - 1)), 0.0
        probes = scan.slices[:: -(-len(scan.slices) // PROBES)].astype(np.float32)
        for images, turn in ((probes, False), (probes.transpose(0, 2, 1), True)):
            pairs = [hide(image, gap, scan.steps[turn]) for image in images]
            kept, hidden = (np.stack(part) for part in zip(*pairs, strict=True))
            if kept.shape[1] < 2:
                continue
            across_mm, along_mm = scan.pixel_mm[:: -1 if turn else 1]
            across_mm *= scan.steps[turn]
            mean, variance = self._plane(kept, gap, across_mm, along_mm)
            error = (hidden - mean) / np.sqrt(variance)
            within += np.einsum("btmw,bsmw->ts", error, error, dtype=np.float64)
            beside += float((error[..., 1:] * error[..., :-1]).sum(dtype=np.float64))
        return texture(within, beside)


def _write(slabs: Slabs, run: _Run, planes: Planes) -> None:
    """Writes what was predicted between the slices of a run into `slabs`."""
    first, *_, last = run.positions
    intervals = len(run.positions) - 1
    view = slabs[first:last].reshape(intervals, run.gap, *slabs.shape[1:])
    view[:, 1:] = planes
