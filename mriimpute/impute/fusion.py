"""Two predictions of one voxel, from the two planes that cross the slices there, made into one.

`fused` averages them by precision. With rho the correlation of their errors,

    mean      m = (vb a + va b) / (va + vb)
    variance  v = va vb / (va + vb) + rho 2 (va vb)^(3/2) / (va + vb)^2

How far the planes disagree tells rho without any truth: E (a - b)^2 = va + vb - 2 rho sqrt(va vb).

`combined` goes on from there. Where each prediction is a conditional mean, given what its own
plane shows, more can be said. With A = a - l and B = b - l their departures from linear
interpolation l, the best linear combination l + u A + w B of both solves

    E A^2 u + E AB w = E A^2,    E AB u + E B^2 w = E B^2,

as E (x - l) A = E A^2. Its weights add up to more than 1: a mean of two conditional means is too
close to l. Their variance is given for weights that add up to 1: a little too large.

Axes: voxels = any, t = distances inside a gap.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64

__all__ = ["Fused", "combined", "correlation", "fused"]

LARGEST = 1.3
"""The sum of the weights of two planes, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Fused:
    """Two predictions made into one.

    Attributes:
        mean: Of both.
        alone: Variance of the mean if the errors of the planes were independent.
        shared: What each unit of their correlation adds to it.
        moments: Per distance, the means of (a - b)^2, of va + vb and of 2 sqrt(va vb).
    """

    mean: Float32[np.ndarray, "*voxels"]
    alone: Float32[np.ndarray, "*voxels"]
    shared: Float32[np.ndarray, "*voxels"]
    moments: Float64[np.ndarray, "3 t"]


def fused(
    a: Float32[np.ndarray, "*voxels"],
    va: Float32[np.ndarray, "*voxels"],
    b: Float32[np.ndarray, "*voxels"],
    vb: Float32[np.ndarray, "*voxels"],
    *,
    distances: int,
) -> Fused:
    """Returns one prediction made of two.

    Args:
        a: Means in one plane.
        va: Their variances, positive.
        b: Means in the other.
        vb: Their variances, positive.
        distances: The axis of the distances inside a gap; moments are means over all others.
    """
    total = va + vb
    share = vb / total
    product = share * va
    measured = (np.square(a - b), total, 2 * np.sqrt(va * vb))
    others = tuple(axis for axis in range(a.ndim) if axis != distances)
    return Fused(
        mean=share * a + (1 - share) * b,
        alone=product,
        shared=2 * product * np.sqrt(share * (1 - share)),
        moments=np.stack([x.mean(axis=others, dtype=np.float64) for x in measured]),
    )


def combined(
    a: Float32[np.ndarray, "*voxels"],
    va: Float32[np.ndarray, "*voxels"],
    b: Float32[np.ndarray, "*voxels"],
    vb: Float32[np.ndarray, "*voxels"],
    linear: Float32[np.ndarray, "*voxels"],
    *,
    counted: Bool[np.ndarray, "*voxels"],
    distances: int,
) -> Fused:
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
    others = tuple(axis for axis in range(a.ndim) if axis != distances)

    def mean(x: Float32[np.ndarray, "*voxels"]) -> Float64[np.ndarray, " t"]:
        return np.asarray(x.mean(axis=others, dtype=np.float64))

    da, db = a - linear, b - linear
    aa, bb, ab = (mean(np.where(counted, x, np.float32(0))) for x in (da * da, db * db, da * db))
    u, w = _weights(aa, bb, ab)
    shape = tuple(len(u) if axis == distances else 1 for axis in range(a.ndim))
    share = (u / (u + w)).astype(np.float32).reshape(shape)
    u, w = (x.astype(np.float32).reshape(shape) for x in (u, w))
    deviations = np.sqrt(va * vb)
    return Fused(
        mean=linear + u * da + w * db,
        alone=share**2 * va + (1 - share) ** 2 * vb,
        shared=2 * share * (1 - share) * deviations,
        moments=np.stack([mean(x) for x in (np.square(a - b), va + vb, 2 * deviations)]),
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


def correlation(moments: Float64[np.ndarray, "3 t"]) -> Float32[np.ndarray, " t"]:
    """Returns rho per distance, in [0, 1].

    Args:
        moments: Those of `Fused`, averaged over voxels that have it in common, or added up.

    Example:
        >>> correlation(np.array([[2.0, 1.0, 9.0], [2.0, 2.0, 2.0], [2.0, 2.0, 2.0]])).tolist()
        [0.0, 0.5, 0.0]
    """
    apart, sums, products = moments
    rho = np.clip((sums - apart) / np.maximum(products, 1e-30), 0.0, 1.0)
    return rho.astype(np.float32)
