"""Two conditional means of one voxel, from the two planes that cross the slices there, made one.

Averaging by precision (`mriimpute.impute.fusion`) serves any two predictions. Where each is a
conditional mean, given what its own plane shows, more can be said. With A = a - l and B = b - l
their departures from linear interpolation l, the best linear combination l + u A + w B solves

    E A^2 u + E AB w = E A^2,    E AB u + E B^2 w = E B^2,

as E (x - l) A = E A^2. Its weights add up to more than 1: a mean of two conditional means is too
close to l. Their variance is given for weights that add up to 1: a little too large.

All is computed on the device that holds the predictions.

Axes: voxels = any, t = distances inside a gap.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from torch import Tensor

__all__ = ["Combined", "combined"]

LARGEST = 1.3
"""The sum of the weights of two planes, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Combined:
    """Two predictions made into one.

    Attributes:
        mean: Of both.
        alone: Variance of the mean if the errors of the planes were independent.
        shared: What each unit of their correlation adds to it.
        moments: As those of `mriimpute.impute.fusion.Fused`.
    """

    mean: Float32[Tensor, "*voxels"]
    alone: Float32[Tensor, "*voxels"]
    shared: Float32[Tensor, "*voxels"]
    moments: Float64[np.ndarray, "3 t"]


def combined(
    a: Float32[Tensor, "*voxels"],
    va: Float32[Tensor, "*voxels"],
    b: Float32[Tensor, "*voxels"],
    vb: Float32[Tensor, "*voxels"],
    linear: Float32[Tensor, "*voxels"],
    *,
    counted: Bool[Tensor, "*voxels"],
    distances: int,
) -> Combined:
    """Returns the best linear combination of two conditional means at each distance.

    Args:
        a: Means in one plane.
        va: Their variances, positive.
        b: Means in the other.
        vb: Their variances, positive.
        linear: What interpolation says.
        counted: Voxels that decide about the weights; where there are none, they are halves.
        distances: The axis of the distances inside a gap.
    """

    def mean(x: Float32[Tensor, "*voxels"]) -> Float64[np.ndarray, " t"]:
        # One by one: torch copies what it adds up in another type.
        means = [one.mean(dtype=torch.float64) for one in x.unbind(distances)]
        return torch.stack(means).cpu().numpy()

    def along(values: Float64[np.ndarray, " t"]) -> Float32[Tensor, "..."]:
        shape = tuple(len(values) if axis == distances else 1 for axis in range(a.ndim))
        return torch.from_numpy(values).float().to(a.device).reshape(shape)

    da, db = a - linear, b - linear
    aa, bb, ab = (mean((x * y).where(counted, 0)) for x, y in ((da, da), (db, db), (da, db)))
    u, w = _weights(aa, bb, ab)
    share = along(u / (u + w))
    deviations = (va * vb).sqrt()
    return Combined(
        mean=linear + along(u) * da + along(w) * db,
        alone=share**2 * va + (1 - share) ** 2 * vb,
        shared=2 * share * (1 - share) * deviations,
        moments=np.stack([mean(x) for x in ((a - b).square(), va + vb, 2 * deviations)]),
    )


def _weights(
    aa: Float64[np.ndarray, " t"], bb: Float64[np.ndarray, " t"], ab: Float64[np.ndarray, " t"]
) -> tuple[Float64[np.ndarray, " t"], Float64[np.ndarray, " t"]]:
    """Returns the weights of both planes at each distance."""
    determinant = aa * bb - ab**2
    known = determinant > 1e-6 * aa * bb  # else both planes say the same, or nothing
    safe = np.where(known, determinant, 1)
    u = np.where(known, (aa * bb - ab * bb) / safe, 0.5)
    w = np.where(known, (aa * bb - ab * aa) / safe, 0.5)
    u, w = np.clip(u, 0.05, 1), np.clip(w, 0.05, 1)
    excess = np.maximum((u + w) / LARGEST, 1)
    return u / excess, w / excess
