"""Pooling over disjoint windows that looks at observed voxels only.

Axes: b = batch, c = channel, grid = voxels, two or three axes; grid2 = `size` times coarser.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mriimpute.nn import _axes
from mriimpute.nn.pyramid import pool

__all__ = ["average_pool", "max_pool"]


def max_pool(
    x: Float[Tensor, "b c *grid"], observed: Bool[Tensor, "b 1 *grid"], size: int = 2
) -> tuple[Float[Tensor, "b c *grid2"], Bool[Tensor, "b 1 *grid2"]]:
    """Returns the largest observed value of each window, 0 where none, and where there is one."""
    covered = pool(observed, size)
    lowest = torch.finfo(x.dtype).min  # finite: minus infinity makes NaN gradients further on
    largest = _axes.max_pool(torch.where(observed, x, lowest), size)
    return torch.where(covered, largest, 0.0), covered


def average_pool(
    x: Float[Tensor, "b c *grid"], observed: Bool[Tensor, "b 1 *grid"], size: int = 2
) -> tuple[Float[Tensor, "b c *grid2"], Bool[Tensor, "b 1 *grid2"]]:
    """Returns the mean observed value of each window, 0 where none, and where there is one."""
    covered = pool(observed, size)
    total = _axes.average_pool(torch.where(observed, x, 0.0), size, stride=size)
    share = _axes.average_pool(observed.to(x.dtype), size, stride=size)
    return torch.where(covered, total / torch.where(covered, share, 1.0), 0.0), covered
