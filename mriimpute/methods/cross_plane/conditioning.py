"""Conditions of the cross-plane network: directions and sizes of an image, where to predict.

Texture along the axis of the body is not texture across it: a network that is told which way the
gap and the lines run through the head need not serve all ways with one.

Axes: b = images, q = conditions, t = offsets inside an interval.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from mriimpute.geometry import ANY_DIRECTION

__all__ = ["ANYWHERE", "DIRECTIONS", "SIZES", "Directions", "conditioning", "offsets"]

DIRECTIONS, SIZES = 6, 4
"""Numbers that `conditioning` returns for an image: directions, then sizes."""

Directions = tuple[float, ...]
"""Which way a gap, and the lines on either side of it, run through the head: the squared cosines
of the one, and of the others."""

ANYWHERE: Directions = ANY_DIRECTION + ANY_DIRECTION
"""Of images of which nothing is known."""

ALONG_MM, GAP_MM = (0.5, 2.0), (1.5, 12.0)
"""Sizes of heads. Far beyond those that it has seen a network says anything."""


def conditioning(
    gap: int,
    gap_mm: Float32[np.ndarray, " b"],
    along_mm: Float32[np.ndarray, " b"],
    thickness: Float32[np.ndarray, " b"],
    directions: Float32[np.ndarray, "b 6"],
) -> Float32[np.ndarray, "b q"]:
    """Returns the conditions of images: directions, and logs of sizes, about in [-1, 1].

    The brain of a mouse is described as a small human one.

    Args:
        gap: From one line to the next, in voxels.
        gap_mm: The same in mm.
        along_mm: Size of the pixels of a line.
        thickness: Of the slice profile, as a fraction of the gap; 0: point samples.
        directions: Of each image.
    """
    along = np.clip(along_mm, *ALONG_MM)
    across = np.clip(gap_mm * (along / along_mm), *GAP_MM)
    count = np.full(len(gap_mm), math.log(gap / 4), np.float32)
    sizes = np.stack([np.log(across / 6), np.log(along / 1.5), count, thickness], axis=1)
    known = np.float32(3) * directions - 1  # 0 on average
    return np.concatenate([known, sizes], axis=1).astype(np.float32)


def offsets(gap: int, device: torch.device | str = "cpu") -> Float[Tensor, " t"]:
    """Returns where the target lines of an interval lie, as fractions of it.

    Example:
        >>> offsets(4).tolist()
        [0.25, 0.5, 0.75]
    """
    return torch.arange(1, gap, device=device, dtype=torch.float32) / gap
