"""`deep-image-prior`: imputes planes across the slices, each with a decoder fitted to it alone.

A decoder learns to make what was acquired out of fixed noise, and what it makes elsewhere is the
imputation. On a slice stack each plane that crosses the slices is an image of its own, as in the
paper. Such planes run in two directions, and the one with fewer of them is taken: fitting both and
averaging doubles the time.

Fitted for too long a decoder makes up noise between the slices, so when to stop matters most. Some
acquired voxels are held out to tell. Which ones is a choice:

*   Single voxels at random are surrounded by acquired neighbours of the same slice. The decoder
    gets better at them long after it gets worse between the slices.
*   Whole slices show the error between slices, at twice the distance, and cost the gaps beside
    them one of two sides.
*   Blocks inside slices, as wide as a gap: to their nearest acquired voxel it is as far as from a
    missing voxel to its slice. They cost next to nothing, because all around them is acquired.

Blocks it is. No voxel that is missing from the scan is ever looked at.

A pattern that is no slice stack is completed in the planes of one direction, too.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019,
    sections 3.5.3 and 4.5: the decoder of the auto-encoders, 1000 iterations, image by image.
    Ulyanov et al., Deep Image Prior, 2018.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from scipy import ndimage

from mriimpute.cohort import normalisation
from mriimpute.geometry import find_stack
from mriimpute.interpolation import interpolated
from mriimpute.methods.base import Imputation, Imputer, Trace
from mriimpute.methods.deep_image_prior.fit import (
    HOPELESS,
    PriorConfig,
    Restored,
    deep_image_prior,
)
from mriimpute.seeds import numpy_stream
from mriimpute.volume import Volume

__all__ = ["DeepImagePrior", "held_out_blocks"]

HELD_OUT = 0.08
"""Share of the acquired voxels that decide when to stop."""

TRACE_EVERY = 10
"""Steps between two entries of the trace."""

STARTS = 3
"""Of a plane at most, with other initial parameters each, until one of them leads anywhere."""

PLANE_SECONDS = 5.0
"""Of one CPU core, about."""

CONFIG = PriorConfig(steps=1000, patience=50, least=150, average=0.95, channels=4)
"""Chosen on lines hidden inside acquired slices: 8 channels and more jitter do no better there."""


class DeepImagePrior(Imputer):
    """Fits a decoder to each plane. It gives no draws and does not know how sure it is.

    Hundreds of steps amplify the last digit of an intensity: a scan in other units comes out as
    another fit of the same scan would, except that factors of two change nothing at all.

    Args:
        config: Steps, rate and when to stop.
        directions: How many directions of planes are fitted and averaged.
        device: Where it computes.
    """

    name = "deep-image-prior"
    gives_draws = False

    def __init__(
        self, config: PriorConfig = CONFIG, *, directions: int = 1, device: str = "cpu"
    ) -> None:
        self.config = config
        self.directions = directions
        self.device = device

    @classmethod
    def without_weights(cls, name: str, device: str) -> "DeepImagePrior":
        """Returns the method as it is used from the command line."""
        return cls(device=device)

    def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
        """Returns the completed volume; planes are fitted one by one."""
        norm = normalisation(volume)
        y = norm.apply(np.where(volume.observed, volume.data, np.float32(np.nan)))
        held_out = held_out_blocks(volume, fraction=HELD_OUT, seed=seed)
        stack = find_stack(volume.observed)
        across = [axis for axis in range(3) if stack is None or axis != stack.axis]
        across.sort(key=lambda axis: volume.shape[axis])

        total, count = np.zeros((2, *volume.shape))
        fits: list[Restored] = []
        planes = sum(volume.shape[axis] for axis in across[: self.directions])
        self.progress.plan("planes", PLANE_SECONDS * planes)
        for axis in across[: self.directions]:
            for number in range(volume.shape[axis]):
                plane, decides = y.take(number, axis), held_out.take(number, axis)
                if not (np.isfinite(plane) & ~decides).any():
                    continue
                # Parameters of its own for each plane: some start out worse than others.
                own = numpy_stream(seed, "deep-image-prior", "plane", axis, number)
                fits.append(self._fitted(plane, decides, own.integers(2**32, size=STARTS)))
                np.moveaxis(total, axis, 0)[number] += fits[-1].image[0, 0].cpu().numpy()
                np.moveaxis(count, axis, 0)[number] += 1
                self.progress.advance("planes", PLANE_SECONDS)

        mean = norm.undo((total / np.maximum(count, 1)).astype(np.float32))
        if (count == 0).any():
            mean = np.where(count > 0, mean, interpolated(volume, "linear"))
        return Imputation(mean=np.where(volume.observed, volume.data, mean), trace=_trace(fits))

    def _fitted(
        self,
        y: Float32[np.ndarray, "h w"],
        held_out: Bool[np.ndarray, "h w"],
        seeds: Int64[np.ndarray, " n"],
    ) -> Restored:
        x = torch.from_numpy(np.ascontiguousarray(y))[None, None].to(self.device)
        decides = torch.from_numpy(np.ascontiguousarray(held_out))[None, None].to(self.device)
        fits: list[Restored] = []
        for seed in seeds.tolist():
            fits.append(
                deep_image_prior(x, x.isfinite(), config=self.config, seed=seed, held_out=decides)
            )
            if fits[-1].missed <= HOPELESS:
                break
        return min(fits, key=lambda fit: fit.missed)


def held_out_blocks(volume: Volume, *, fraction: float, seed: int) -> Bool[np.ndarray, "i j k"]:
    """Returns acquired voxels in blocks whose edge is as wide as what is missing.

    Args:
        volume: Its pattern counts, its intensities do not.
        fraction: Of the acquired voxels, about.
        seed: Names all random streams; from 0.
    """
    extent = _extent(volume)
    corners = numpy_stream(seed, "deep-image-prior", "blocks").random(volume.shape)
    chosen = corners < -np.log1p(-fraction) / np.prod(extent)
    blocks = ndimage.maximum_filter(chosen, size=extent, mode="constant")
    return volume.observed & blocks


def _extent(volume: Volume) -> tuple[int, int, int]:
    """Returns the voxels of a block along each axis: one across the slices of a stack."""
    spacing = np.asarray(volume.spacing_mm)
    stack = find_stack(volume.observed)
    if stack is not None:
        width_mm = (float(np.median(stack.gaps)) - 1) * spacing[stack.axis]
    elif volume.observed.all():
        width_mm = 0.0
    else:
        far = ndimage.distance_transform_edt(~volume.observed, sampling=volume.spacing_mm)
        width_mm = 2 * float(far[~volume.observed].mean())
    edges = np.maximum(1, np.rint(width_mm / spacing)).astype(int)
    if stack is not None:
        edges[stack.axis] = 1
    i, j, k = edges.tolist()
    return i, j, k


def _trace(fits: Sequence[Restored]) -> Trace:
    """Returns means over planes; one that has stopped keeps its last loss."""
    longest = max(len(fit.losses) for fit in fits)
    steps = range(TRACE_EVERY - 1, longest, TRACE_EVERY)

    def curve(losses: Sequence[Sequence[float]]) -> tuple[float, ...]:
        curves = [each for each in losses if each]
        return tuple(
            float(np.mean([each[min(step, len(each) - 1)] for each in curves]))
            for step in (steps if curves else ())
        )

    return Trace(
        fitted=curve([fit.losses for fit in fits]),
        held_out=curve([fit.held_out_losses for fit in fits]),
        every=TRACE_EVERY,
        stopped_at=round(float(np.mean([fit.stopped_at for fit in fits]))),
    )
