"""Sparse fully connected and sparse locally connected layers.

Axes: b = batch, s = draws, c = channel, p = position, g = block, d = latent dimensions,
grid = voxels, two or three axes.
"""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mriimpute.methods.patches.layers.regression import Regression, regress

__all__ = ["ObservedLinear", "ObservedLocal", "join_blocks", "split_blocks"]

Ridge = Literal["sigma", "relative"]
RELATIVE = 1e-4


class ObservedLinear(nn.Module):
    """Solves for the coordinates of a partially observed vector in a learnt subspace.

        r = (W_O^T W_O + lambda I)^-1 W_O^T (y_O - mu_O)

    `decode` is the other direction, y = W r + mu, with the same W.

    References:
        Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces,
        2019, Eq. 10, which has lambda = 0 and then no solution for fewer observed entries than
        coordinates; with lambda = sigma^2 this is the posterior mean of Eq. 15.

    Args:
        positions: Places of the input that are observed or not.
        latents: Coordinates.
        channels: Values per place, observed together.
        ridge: "sigma" learns lambda = sigma^2, "relative" fixes lambda = 1e-4 tr(W_O^T W_O) / d.
    """

    def __init__(
        self, positions: int, latents: int, *, channels: int = 1, ridge: Ridge = "sigma"
    ) -> None:
        super().__init__()
        self.subspaces = Subspaces(1, channels, positions, latents, ridge)

    def forward(
        self, y: Float[Tensor, "b c p"], observed: Bool[Tensor, "b 1 p"]
    ) -> Float[Tensor, "b d"]:
        """Returns r; zero where nothing is observed."""
        return self.regression(y, observed).solve()[:, 0]

    def regression(self, y: Float[Tensor, "b c p"], observed: Bool[Tensor, "b 1 p"]) -> Regression:
        """Returns the problem that `forward` solves, of a single block."""
        return self.subspaces(y[:, None], observed[:, None])

    def decode(self, r: Float[Tensor, "b d"]) -> Float[Tensor, "b c p"]:
        """Returns W r + mu."""
        return self.subspaces.decode(r[:, None])[:, 0]


class ObservedLocal(nn.Module):
    """One `ObservedLinear` per block of the grid, each with parameters of its own.

    References:
        Dalca et al., 2019, section 3.4.1: "locally connected sparse layers, which affect
        separate subregions of the volume".

    Args:
        grid: Shape of the input, two or three axes.
        block: Edge of a block; divides every axis of `grid`.
        latents: Coordinates per block.
        channels: Values per voxel.
        ridge: As for `ObservedLinear`.

    Raises:
        ValueError: If `block` does not divide the grid.
    """

    def __init__(
        self,
        grid: tuple[int, ...],
        *,
        block: int,
        latents: int,
        channels: int = 1,
        ridge: Ridge = "sigma",
    ) -> None:
        super().__init__()
        if any(edge % block for edge in grid):
            raise ValueError(f"block must divide the grid {grid}, got {block}")
        self.grid, self.block = grid, block
        self.blocks = math.prod(edge // block for edge in grid)
        self.subspaces = Subspaces(self.blocks, channels, block ** len(grid), latents, ridge)

    def forward(
        self, y: Float[Tensor, "b c *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> Float[Tensor, "b g d"]:
        """Returns r of each block; zero where nothing of the block is observed."""
        return self.regression(y, observed).solve()

    def regression(
        self, y: Float[Tensor, "b c *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> Regression:
        """Returns the problems that `forward` solves."""
        return self.subspaces(split_blocks(y, self.block), split_blocks(observed, self.block))

    def decode(self, r: Float[Tensor, "b g d"]) -> Float[Tensor, "b c *grid"]:
        """Returns W r + mu of each block, on the grid."""
        return join_blocks(self.subspaces.decode(r), self.grid, self.block)


class Subspaces(nn.Module):
    """W and mu of some blocks, and lambda."""

    def __init__(
        self, blocks: int, channels: int, positions: int, latents: int, ridge: Ridge
    ) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(blocks, channels, positions, latents))
        self.mu = nn.Parameter(torch.zeros(blocks, channels, positions))
        nn.init.normal_(self.w, std=(channels * positions) ** -0.5)
        # With these weights tr(W^T W) / d is close to 1.
        self.log_variance = (
            nn.Parameter(torch.tensor(math.log(0.05))) if ridge == "sigma" else None
        )

    def forward(
        self, y: Float[Tensor, "b g c p"], observed: Bool[Tensor, "b g 1 p"]
    ) -> Regression:
        if self.log_variance is None:
            return regress(self.w, self.mu, y, observed, ridge=RELATIVE, relative=True)
        return regress(self.w, self.mu, y, observed, ridge=self.log_variance.exp())

    def decode(self, r: Float[Tensor, "b g d"]) -> Float[Tensor, "b g c p"]:
        return self.mu + torch.einsum("gcpd,bgd->bgcp", self.w, r)


def split_blocks(x: Tensor, block: int) -> Tensor:
    """Returns `x` (b, c, *grid) as blocks (b, g, c, p), without copying neighbours."""
    axes = x.ndim - 2
    for axis in range(axes):
        x = x.unflatten(2 + 2 * axis, (-1, block))
    outer, inner = range(2, 2 + 2 * axes, 2), range(3, 3 + 2 * axes, 2)
    x = x.permute(0, *outer, 1, *inner)
    return x.flatten(2 + axes).flatten(1, axes)


def join_blocks(x: Tensor, grid: tuple[int, ...], block: int) -> Tensor:
    """Returns blocks (b, g, c, p) as a grid (b, c, *grid): the inverse of `split_blocks`."""
    axes = len(grid)
    x = x.unflatten(3, (block,) * axes).unflatten(1, [edge // block for edge in grid])
    order = [1 + axes]
    for axis in range(axes):
        order += [1 + axis, 2 + axes + axis]
    return x.permute(0, *order).reshape(x.shape[0], -1, *grid)
