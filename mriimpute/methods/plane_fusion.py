"""Two conditional means of one voxel, from the two planes that cross the slices there, made one.

Averaging by precision (`mriimpute.methods.fusion`) serves any two predictions. Where each is a
conditional mean, given what its own plane shows, more can be said. With A = a - l and B = b - l
their departures from linear interpolation l, the best linear combination l + u A + w B solves

    E A^2 u + E AB w = E A^2,    E AB u + E B^2 w = E B^2,

as E (x - l) A = E A^2. Its weights add up to more than 1: a mean of two conditional means is too
close to l. Their variance is given for weights that add up to 1: a little too large.

All is computed on the device that holds the predictions.

Axes: voxels = any, t = distances inside a gap.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from torch import Tensor

from mriimpute.methods.fusion import Fused

__all__ = ["combined", "mixed"]

LARGEST_SUM = 1.3
"""Of the weights of two planes."""


def combined(
    a: Float32[Tensor, "*voxels"],
    va: Float32[Tensor, "*voxels"],
    b: Float32[Tensor, "*voxels"],
    vb: Float32[Tensor, "*voxels"],
    linear: Float32[Tensor, "*voxels"],
    *,
    counted: Bool[Tensor, "*voxels"],
    distances: int,
) -> Fused:
    """Returns the best linear combination of two conditional means at each distance.

    Args:
        a: Means in one plane.
        va: Their variances, positive.
        b: Means in the other.
        vb: Their variances, positive.
        linear: Linear interpolation.
        counted: Voxels that decide about the weights and how errors go together; where there are
            none, weights are halves.
        distances: The axis of the distances inside a gap.
    """
    mean, weights = mixed(a, b, linear, counted=counted, distances=distances)
    alone, shared = torch.empty_like(mean), torch.empty_like(mean)
    moments = []
    for u, one, v, other, w, inside, alone_here, shared_here in zip(
        weights,
        *(x.unbind(distances) for x in (a, va, b, vb, counted, alone, shared)),
        strict=True,
    ):
        deviation, outside = (v * w).sqrt_(), ~inside
        measured = (one - other).square_(), v + w, 2 * deviation
        moments += [_mean(x.masked_fill_(outside, 0)) for x in measured]
        alone_here.copy_((u**2 * v).add_((1 - u) ** 2 * w))
        shared_here.copy_(deviation.mul_(2 * u * (1 - u)))
    return mean, alone, shared, _table(moments, 3)


def mixed(
    a: Float32[Tensor, "*voxels"],
    b: Float32[Tensor, "*voxels"],
    linear: Float32[Tensor, "*voxels"],
    *,
    counted: Bool[Tensor, "*voxels"],
    distances: int,
) -> tuple[Float32[Tensor, "*voxels"], Float32[Tensor, " t"]]:
    """Returns the mean that `combined` does, and how much of it comes from `a` at each distance.

    One distance after the other: each of these is as large as the head, and so would be all that
    is computed on the way.
    """
    parts = list(zip(*(x.unbind(distances) for x in (a, b, linear, counted)), strict=True))
    products = []
    for one, other, smooth, inside in parts:
        da, db, outside = one - smooth, other - smooth, ~inside
        pairs = ((da, da), (db, db), (da, db))
        products += [_mean((x * y).masked_fill_(outside, 0)) for x, y in pairs]
    u, w = _weights(*_table(products, 3))

    mean = torch.empty_like(linear)
    fractions, ours, theirs = (
        torch.from_numpy(values).float().to(a.device) for values in (u / (u + w), u, w)
    )
    for (one, other, smooth, _), out, x, y in zip(
        parts, mean.unbind(distances), ours, theirs, strict=True
    ):
        out.copy_((one - smooth).mul_(x).add_(smooth).add_((other - smooth).mul_(y)))
    return mean, fractions


def _mean(x: Float32[Tensor, "*voxels"]) -> Float64[Tensor, ""]:
    return x.mean(dtype=torch.float64)


def _table(values: list[Tensor], rows: int) -> Float64[np.ndarray, "rows t"]:
    """Returns numbers of which so many belong to each distance, one row for each kind."""
    return torch.stack(values).cpu().numpy().reshape(-1, rows).T


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
    excess = np.maximum((u + w) / LARGEST_SUM, 1)
    return u / excess, w / excess
