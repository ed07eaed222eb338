"""Imputation with a model of patches.

Patches of three axes overlap, and `mriimpute.methods.patches.work` makes m, v, u, s^2, b_n and r
of them. A voxel gets

    mean      m
    variance  std^2 = v + u + s^2
    draw n    y_n = m + r (b_n - m) + sqrt(u + s^2) noise_n                      (Eq. 5)

so draws scatter as far as `std` says where overlapping patches agree about v. A model of two axes
completes the planes that cross the slices of a stack, see `mriimpute.methods.patches.planes`;
where there is no stack, planes along the first and the last axis, like patches of three. Where the
noise level was not learnt, `mriimpute.methods.patches.blocks` measures the std.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019,
    Eq. 5 and 8.
"""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32
from torch import Tensor

from mriimpute.checkpoint import restore
from mriimpute.cohort import Normalisation, in_space, normalisation
from mriimpute.cohort.foreground import foreground_level
from mriimpute.cohort.slices import acquired_slices
from mriimpute.device import TILE
from mriimpute.geometry import Stack, find_stack
from mriimpute.interpolation import interpolated
from mriimpute.methods.base import Imputation, Imputer
from mriimpute.methods.memory_estimate import MemoryEstimate
from mriimpute.methods.noise import with_noise
from mriimpute.methods.patches import blocks, models, planes
from mriimpute.methods.patches.families import Completed
from mriimpute.methods.patches.model import Model
from mriimpute.methods.patches.tiling import Place
from mriimpute.methods.patches.work import BATCH, PatchWork
from mriimpute.seeds import numpy_stream
from mriimpute.volume import Volume

__all__ = ["BATCH", "PatchImputer"]

log = logging.getLogger(__name__)

Image = Float32[np.ndarray, "i j k"]
Region = Bool[np.ndarray, "i j k"]


class PatchImputer(Imputer):
    """Fills unobserved voxels, whatever their pattern, from overlapping patches.

    Args:
        model: Trained.
        name: Of the model, as `--model` takes it.
        device: Where it computes, "cpu" or "cuda:N".
        tile: Edge of the region worked on at once, in voxels.
        is_calibrated: Measure the std of a model of three axes on the scan, as that of one of
            two axes always is: with a noise level that was not learnt, the model does not know it.
    """

    memory_estimate = MemoryEstimate(fixed=224 * 2**20, per_tile_voxel=48)

    def __init__(
        self,
        model: Model,
        name: str,
        *,
        device: str,
        tile: int = TILE,
        is_calibrated: bool = False,
    ) -> None:
        if tile < 1:
            raise ValueError(f"tile must be at least 1, got {tile}")
        self.name, self.tile = name, tile
        self.model = model.to(device).eval().requires_grad_(requires_grad=False)
        self.device, self.is_calibrated = device, is_calibrated

    @classmethod
    def from_checkpoint(
        cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], *, device: str
    ) -> "PatchImputer":
        """Returns the imputer of a model file, as read by `mriimpute.checkpoint.load`.

        Raises:
            CheckpointError: If the weights do not fit the model.
        """
        model = models.build(metadata["name"], metadata["model"], seed=0)
        restore(model, tensors, where="the model file")
        # Runs from before noise levels were fixed do not say so.
        is_learnt = metadata.get("train", {}).get("noise", "learnt") == "learnt"
        return cls(model, metadata["name"], device=device, is_calibrated=not is_learnt)

    def tiled(self, tile: int) -> "PatchImputer":
        """Returns the imputer that works on regions of edge `tile`, in voxels."""
        return PatchImputer(
            self.model,
            self.name,
            device=self.device,
            tile=tile,
            is_calibrated=self.is_calibrated,
        )

    def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
        """Returns the completed volume."""
        norm, stack = normalisation(volume), find_stack(volume.observed)
        y = norm.apply(np.where(volume.observed, volume.data, np.float32(np.nan)))
        if stack is not None and (completed := self._of_stack(volume, y, norm, stack, seed, case)):
            return self._scattered(completed, volume, norm, stack, seed, case)

        extent = in_space(self.model.patch, stack.axis if stack else 2)
        work = self.work(y, extent, seed=seed, case=case)
        mean, within, between, ratio, noise = work.moments()
        pixel = between + noise
        std = np.sqrt(within + pixel) * np.float32(norm.scale)
        kept = volume.observed

        def draw(number: int) -> Image:
            generator = numpy_stream(seed, "impute", case, "draw", number, "noise")
            white = generator.standard_normal(mean.shape, np.float32)
            y = mean + ratio * (work.latent_draw(number) - mean) + np.sqrt(pixel) * white
            return np.where(kept, volume.data, norm.undo(y))

        def log_density(truth: Image, region: Region) -> float:
            x = norm.apply(np.where(region, truth, np.float32(np.nan)))
            return work.log_density(x, region) - float(np.log(norm.scale))

        return Imputation(
            mean=np.where(kept, volume.data, norm.undo(mean)),
            std=np.where(kept, np.float32(0), std),
            draw=draw,
            log_density=log_density,
        )

    def work(self, y: Image, extent: Place, *, seed: int, case: str) -> PatchWork:
        """Returns what completes a normalised grid by patches of an extent."""
        return PatchWork(
            self.model,
            y,
            extent,
            seed=seed,
            case=case,
            tile=self.tile,
            device=self.device,
            progress=self.progress,
        )

    def _of_stack(
        self, volume: Volume, y: Image, norm: Normalisation, stack: Stack, seed: int, case: str
    ) -> Completed | None:
        """Returns a completed stack, slices across its last axis; None if it is not calibrated."""
        is_flat = len(self.model.patch) == 2
        if not (is_flat or self.is_calibrated):
            return None
        scan = acquired_slices(volume, case)
        turned = np.ascontiguousarray(np.moveaxis(y, stack.axis, 2))

        def worker(grid: Image, extent: Place) -> PatchWork:
            return self.work(grid, extent, seed=seed, case=case)

        filled = np.moveaxis(norm.apply(interpolated(volume, "pchip")), stack.axis, 2)
        if not is_flat:
            whole = partial(worker, extent=in_space(self.model.patch, 2))
            return blocks.completed(turned, filled, stack, scan, whole) if scan else None

        gaps, patch = {gap for gap in stack.gaps if gap > 1}, self.model.patch
        measured = planes.self_calibrations(scan, gaps, patch, worker) if scan else {}
        if gaps - measured.keys():
            log.warning("the slices are too few or too small to measure the std on")
        left_out = (
            planes.on_left_out_slices(turned, filled, stack, scan, patch, worker) if scan else {}
        )
        level = foreground_level(y[volume.observed])
        return planes.completed(turned, filled, stack, measured, left_out, level, patch, worker)

    def _scattered(
        self,
        completed: Completed,
        volume: Volume,
        norm: Normalisation,
        stack: Stack,
        seed: int,
        case: str,
    ) -> Imputation:
        """Returns a completed stack with its draws."""

        def back(image: Image) -> Image:
            return np.moveaxis(image, 2, stack.axis)

        kept, unit = volume.observed, np.float32(norm.scale)
        scale, latent = completed.latent_scale(), completed.latent_variance()
        noise = np.sqrt(np.maximum(completed.variance - scale**2 * latent, 0))
        noisy = with_noise(
            volume,
            norm.undo(back(completed.mean)),
            back(noise) * unit,
            stack,
            completed.correlations,
            seed,
            case,
            device=self.device,
        )

        def draw(number: int) -> Image:
            departure = back(scale * completed.departure(number)) * unit
            return np.where(kept, volume.data, noisy.drawn(number) + departure)

        def log_density(truth: Image, region: Region) -> float:
            x = norm.apply(np.where(region, truth, np.float32(np.nan)))
            x, where = (np.moveaxis(image, stack.axis, 2) for image in (x, region))
            each = [family.work.log_density(x, where) for family in completed.families]
            return sum(each) / len(each) - float(np.log(norm.scale))

        std = np.sqrt(back(completed.variance)) * unit
        std = np.where(kept, np.float32(0), std)
        return Imputation(
            noisy.mean, std, draw=draw, log_density=log_density, quality=completed.quality
        )
