"""Two predictions of one voxel, from the two planes that cross the slices there, made into one.

`fused` averages them by precision. With rho the correlation of their errors,

    mean      m = (vb a + va b) / (va + vb)
    variance  v = va vb / (va + vb) + rho 2 (va vb)^(3/2) / (va + vb)^2

How far the planes disagree tells rho without any truth: E (a - b)^2 = va + vb - 2 rho sqrt(va vb).

Axes: voxels = any, t = distances inside a gap.
"""

from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float32, Float64

__all__ = ["Fused", "correlation", "fused"]

Array: TypeAlias = Any
"""Float32, all of one shape: NumPy arrays or tensors, as the predictions are."""


Fused: TypeAlias = tuple[Array, Array, Array, Float64[np.ndarray, "3 t"]]
"""Two predictions made into one: its mean; the variance of that if the errors of the planes were
independent; what each unit of their correlation adds to it; and, per distance, the means of
(a - b)^2, of va + vb and of 2 sqrt(va vb)."""


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
    weight = vb / total
    product = weight * va
    measured = (np.square(a - b), total, 2 * np.sqrt(va * vb))
    others = tuple(axis for axis in range(a.ndim) if axis != distances)
    mean = weight * a + (1 - weight) * b
    shared = 2 * product * np.sqrt(weight * (1 - weight))
    moments = np.stack([x.mean(axis=others, dtype=np.float64) for x in measured])
    return mean, product, shared, moments


def correlation(moments: Float64[np.ndarray, "3 t"]) -> Float32[np.ndarray, " t"]:
    """Returns rho per distance, in [0, 1].

    Args:
        moments: Those of `Fused`, averaged over voxels that have it in common, or added up.

    Example:
        >>> correlation(np.array([[2.0, 1.0, 9.0], [2.0, 2.0, 2.0], [2.0, 2.0, 2.0]])).tolist()
        [0.0, 0.5, 0.0]
    """
    differences, sums, products = moments
    rho = np.clip((sums - differences) / np.maximum(products, 1e-30), 0.0, 1.0)
    return rho.astype(np.float32)
