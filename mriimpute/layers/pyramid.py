"""Which voxels a stack of sparse convolutions covers, computed once per input.

What is covered depends on neither weights nor features, so all layers of a network share one
pyramid of observed maps, outside of the graph that gradients flow through.

Axes: b = batch, grid = voxels, two or three axes; grid2 = the same, `stride` times coarser.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mriimpute.layers.axes import average_pool, max_pool

__all__ = ["Window", "pyramid", "window"]


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """What one application of a kernel sees of an observed map.

    Attributes:
        observed: Where the input means something.
        ratio: |N| / n, the kernel's voxels over the observed ones among them; 0 where n = 0.
        covered: Where n > 0: where the output means something.
    """

    observed: Bool[Tensor, "b 1 *grid"]
    ratio: Float[Tensor, "b 1 *grid2"]
    covered: Bool[Tensor, "b 1 *grid2"]


@torch.no_grad()
def window(observed: Bool[Tensor, "b 1 *grid"], *, kernel: int = 3, stride: int = 1) -> Window:
    """Returns what a kernel of odd edge `kernel` sees of `observed`; outside is not observed.

    References:
        Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces,
        2019, Eq. 11 (the ratio) and 12 (`covered`).
    """
    size = kernel ** (observed.ndim - 2)
    fraction = average_pool(observed.float(), kernel, stride=stride, padding=kernel // 2)
    # An integer again, so that a full window has ratio 1 exactly.
    count = (fraction * size).round()
    covered = count > 0
    return Window(observed, torch.where(covered, size / count.clamp(min=1), 0.0), covered)


def pyramid(
    observed: Bool[Tensor, "b 1 *grid"], *, levels: int, steps: int, kernel: int = 3
) -> list[list[Window]]:
    """Returns the windows of `steps` convolutions in a row on each of `levels` levels.

    Between two levels lies a pooling by two: `max_pool` of the last `covered`.
    """
    stack: list[list[Window]] = []
    for level in range(levels):
        if level:
            observed = pool(observed)
        row: list[Window] = []
        for _ in range(steps):
            row.append(window(row[-1].covered if row else observed, kernel=kernel))
        observed = row[-1].covered
        stack.append(row)
    return stack


@torch.no_grad()
def pool(observed: Bool[Tensor, "b 1 *grid"], size: int = 2) -> Bool[Tensor, "b 1 *grid2"]:
    """Returns where a disjoint window of edge `size` holds any observed voxel."""
    return max_pool(observed.float(), size) > 0
