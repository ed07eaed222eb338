"""Conditions of the cross-plane network: sizes of an image, and where to predict.

Axes: b = images, q = conditions, t = offsets inside an interval.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

__all__ = ["CONDITIONS", "conditioning", "offsets"]

CONDITIONS = 4
"""Numbers that `conditioning` returns for an image."""

ALONG_MM, GAP_MM = (0.5, 2.0), (1.5, 12.0)
"""Sizes of heads. Far beyond those that it has seen a network says anything."""


def conditioning(
    gap: int,
    gap_mm: Float32[np.ndarray, " b"],
    along_mm: Float32[np.ndarray, " b"],
    thickness: Float32[np.ndarray, " b"],
) -> Float32[np.ndarray, "b q"]:
    """Returns the conditions of images: logs of sizes, about in [-1, 1].

    The brain of a mouse is described as a small human one.

    Args:
        gap: From one line to the next, in voxels.
        gap_mm: The same in mm.
        along_mm: Size of the pixels of a line.
        thickness: Of the slice profile, as a fraction of the gap; 0: point samples.
    """
    along = np.clip(along_mm, *ALONG_MM)
    across = np.clip(gap_mm * (along / along_mm), *GAP_MM)
    count = np.full(len(gap_mm), math.log(gap / 4), np.float32)
    return np.stack([np.log(across / 6), np.log(along / 1.5), count, thickness], axis=1)


def offsets(gap: int, device: torch.device | str = "cpu") -> Float[Tensor, " t"]:
    """Returns where the target lines of an interval lie, as fractions of it.

    Example:
        >>> offsets(4).tolist()
        [0.25, 0.5, 0.75]
    """
    return torch.arange(1, gap, device=device, dtype=torch.float32) / gap
