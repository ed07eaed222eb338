"""Imputation with a model of patches.

Patches of three axes overlap, and `mriimpute.methods.patches.work` makes m, v, u, s^2, b_n and r
of them. A voxel gets

    mean      m
    variance  std^2 = v + u + s^2
    draw n    y_n = m + r (b_n - m) + sqrt(u + s^2) noise_n                      (Eq. 5)

so draws scatter as far as `std` says where overlapping patches agree about v. A model of two axes
completes the planes that cross the slices of a stack, see `mriimpute.methods.patches.planes`;
where there is no stack, planes along the first and the last axis, like patches of three.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019,
    Eq. 5 and 8.
"""

import logging
from collections.abc import Mapping
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
from mriimpute.methods.patches import models
from mriimpute.methods.patches.model import Model
from mriimpute.methods.patches.planes import completed, self_calibrations
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
    """

    memory_estimate = MemoryEstimate(fixed=224 * 2**20, per_tile_voxel=48)

    def __init__(self, model: Model, name: str, *, device: str, tile: int = TILE) -> None:
        if tile < 1:
            raise ValueError(f"tile must be at least 1, got {tile}")
        self.name, self.tile = name, tile
        self.model = model.to(device).eval().requires_grad_(requires_grad=False)
        self.device = device

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
        return cls(model, metadata["name"], device=device)

    def tiled(self, tile: int) -> "PatchImputer":
        """Returns the imputer that works on regions of edge `tile`, in voxels."""
        return PatchImputer(self.model, self.name, device=self.device, tile=tile)

    def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
        """Returns the completed volume."""
        norm, stack = normalisation(volume), find_stack(volume.observed)
        y = norm.apply(np.where(volume.observed, volume.data, np.float32(np.nan)))
        if stack is not None and len(self.model.patch) == 2:
            return self._by_planes(volume, y, norm, stack, seed, case)

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

    def _by_planes(
        self, volume: Volume, y: Image, norm: Normalisation, stack: Stack, seed: int, case: str
    ) -> Imputation:
        """Returns a stack completed in the planes that cross its slices."""

        def worker(grid: Image, extent: Place) -> PatchWork:
            return self.work(grid, extent, seed=seed, case=case)

        def turned(image: Image) -> Image:
            return np.ascontiguousarray(np.moveaxis(image, stack.axis, 2))

        def back(image: Image) -> Image:
            return np.moveaxis(image, 2, stack.axis)

        patch, kept = self.model.patch, volume.observed
        scan = acquired_slices(volume, case)
        gaps = {gap for gap in stack.gaps if gap > 1}
        measured = self_calibrations(scan, gaps, patch, worker) if scan else {}
        if gaps - measured.keys():
            log.warning("slices show too little of gaps as wide: the std is the model's there")
        filled = norm.apply(interpolated(volume, "pchip"))
        level = foreground_level(y[kept])
        planes = completed(turned(y), turned(filled), stack, measured, level, patch, worker)

        scale, latent = planes.latent_scale(), planes.latent_variance()
        noise = np.sqrt(np.maximum(planes.variance - scale**2 * latent, 0))
        scattered = with_noise(
            volume,
            norm.undo(back(planes.mean)),
            back(noise) * np.float32(norm.scale),
            stack,
            planes.correlations,
            seed,
            case,
            device=self.device,
        )

        def draw(number: int) -> Image:
            departure = back(scale * planes.departure(number)) * np.float32(norm.scale)
            return np.where(kept, volume.data, scattered.drawn(number) + departure)

        def log_density(truth: Image, region: Region) -> float:
            x = turned(norm.apply(np.where(region, truth, np.float32(np.nan))))
            where = turned(region)
            each = [family.work.log_density(x, where) for family in planes.families]
            return sum(each) / len(each) - float(np.log(norm.scale))

        std = np.sqrt(back(planes.variance)) * np.float32(norm.scale)
        return Imputation(
            mean=scattered.mean,
            std=np.where(kept, np.float32(0), std),
            draw=draw,
            log_density=log_density,
        )
