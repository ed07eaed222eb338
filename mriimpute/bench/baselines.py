"""What baselines take for the same head: Deep Image Prior, and the resampling of SimpleITK.

Deep Image Prior is fitted to each plane that crosses the slices, a thousand steps each (Dalca et
al., section 4.5). Some steps are timed and the rest is computed: every step is like the others.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019,
    section 4.5: 18.6 ms for a slice, 36.5 s with Deep Image Prior.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32

from mriimpute.bench.phantom import GAP, Shape, sparse_head, target_shape
from mriimpute.bench.timing import Timing, timed
from mriimpute.cohort import normalisation
from mriimpute.methods.deep_image_prior.fit import deep_image_prior
from mriimpute.methods.deep_image_prior.imputer import CONFIG, HELD_OUT
from mriimpute.seeds import numpy_stream

__all__ = ["PAPER_RATIO", "DeepImagePriorCost", "deep_image_prior_cost", "simpleitk_time"]

PAPER_RATIO = 36.5 / 18.6e-3
"""Of Deep Image Prior and the model of Dalca et al., per slice."""

START_STEPS = 2
"""Of a fit, before those that count."""


@dataclass(frozen=True, slots=True)
class DeepImagePriorCost:
    """Deep Image Prior on the planes of a volume.

    Attributes:
        plane: Pixels of a plane across the slices.
        planes: That stand side by side; a decoder for each.
        step: Seconds of a step of the optimiser.
        steps: Of a fit.
    """

    plane: tuple[int, int]
    planes: int
    step: Timing
    steps: int

    @property
    def per_plane(self) -> float:
        """Seconds of a fit, computed."""
        return self.steps * self.step.median

    @property
    def per_volume(self) -> float:
        """Seconds of all fits in one direction, as in the paper; we fit two, and average."""
        return self.planes * self.per_plane


def deep_image_prior_cost(
    size: Shape, device: str, *, steps: int, repeats: int
) -> DeepImagePriorCost:
    """Returns what a fit to the planes of a head costs.

    Args:
        size: Of the target grid, about, in voxels.
        device: "cpu" or "cuda:N".
        steps: That are timed.
        repeats: Fits.
    """
    volume = sparse_head(size)
    y = normalisation(volume).apply(volume.data[:, volume.shape[1] // 2])
    rng = numpy_stream(0, "bench", "held out")
    held_out = torch.from_numpy(rng.random(y.shape) < HELD_OUT)[None, None].to(device)
    plane = torch.from_numpy(np.ascontiguousarray(y))[None, None].to(device)

    def fit_seconds(count: int) -> float:
        config = dataclasses.replace(CONFIG, steps=count, patience=count)
        fit = deep_image_prior(plane, plane.isfinite(), config=config, seed=0, held_out=held_out)
        return fit.seconds  # every step ends by reading a loss: nothing is left to wait for

    fit_seconds(START_STEPS)
    seconds = [fit_seconds(START_STEPS + steps) - fit_seconds(START_STEPS) for _ in range(repeats)]
    height, width = y.shape
    step = Timing.of(seconds, per=float(steps))
    return DeepImagePriorCost((height, width), volume.shape[1], step, CONFIG.steps)


def simpleitk_time(size: Shape, *, repeats: int, budget: float) -> Timing:
    """Returns the seconds of resampling the slices onto the target grid with cubic B-splines.

    Args:
        size: Of the target grid, about, in voxels.
        repeats: At most.
        budget: Seconds after which no further repetition begins.
    """
    import SimpleITK as sitk  # noqa: N813 - its documented alias

    sparse = sparse_head(size)
    slices: Float32[np.ndarray, "s j i"] = sparse.data[:, :, ::GAP].transpose(2, 1, 0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(slices))
    image.SetSpacing((1.0, 1.0, float(GAP)))
    grid = sitk.Image(*target_shape(size), sitk.sitkFloat32)
    return timed(
        lambda: sitk.Resample(image, grid, sitk.Transform(), sitk.sitkBSpline),
        repeats=repeats,
        budget=budget,
    )
