"""Encoders and decoders made of plain networks, dense and convolutional.

They have no rule for gaps: what is unobserved comes in as 0, and where that is as a channel.

Axes: b = batch, c = channel, m = latent dimensions, grid = voxels, two or three axes.

References:
    Tonolini et al., Tomographic Auto-Encoder, 2021, supplement C.1: "fully connected two layers
    neural network with leaky ReLu", and "Convolutional TAE Structure".
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from mriimpute.layers.axes import LAYER, channels_last, conv_layer
from mriimpute.layers.blocks import coarse_grid, require_patch
from mriimpute.layers.bounds import NoiseLevel, soft_bound
from mriimpute.layers.density import DiagonalGaussian

__all__ = [
    "Architecture",
    "Conv",
    "Dense",
    "GaussianEncoder",
    "Networks",
    "VoxelDecoder",
    "VoxelScale",
    "fields",
    "networks",
    "prior_where_blind",
]

Architecture = Literal["dense", "conv"]

LOG_SCALE = (-6.0, 1.0)  # of a density of latent variables: bounds, softly
LOG_EXCESS = (-8.0, 4.0)  # of a voxel's scale over the common one: bounds, softly
NARROW = math.exp(-2.0)  # what the scale of codes starts at
SLOPE = 0.2  # of the leaky ReLU: the default of the paper's TensorFlow


def fields(
    y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
) -> Float[Tensor, "b 2 *grid"]:
    """Returns `y` with zeros for what is unobserved, and what is observed, as two channels."""
    return torch.cat([torch.where(observed, y, 0.0), observed.to(y.dtype)], dim=1)


def prior_where_blind(
    q: DiagonalGaussian, observed: Bool[Tensor, "b 1 *grid"]
) -> DiagonalGaussian:
    """Returns `q`, with N(0, I) in the rows that observe nothing."""
    sees = observed.flatten(1).any(-1, keepdim=True)
    return DiagonalGaussian(torch.where(sees, q.loc, 0.0), torch.where(sees, q.scale, 1.0))


class VoxelScale(nn.Module):
    """A standard deviation per voxel, floor + exp(parameter + h) with h softly bounded.

    Args:
        sigma: Where it starts, h being 0.
        floor: What it stays above. Without one the likelihood of a constant background grows
            without bound.
    """

    def __init__(self, sigma: float, floor: float) -> None:
        super().__init__()
        self.level = NoiseLevel(sigma, floor)

    def fix(self, sigma: float) -> None:
        """Sets the standard deviations where h is 0, for good."""
        bent = math.exp(float(soft_bound(torch.zeros(()), *LOG_EXCESS)))
        self.level.fix(self.level.floor + (sigma - self.level.floor) / bent)

    def forward(self, h: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Returns the standard deviations."""
        return self.level.floor + (self.level.log_excess + soft_bound(h, *LOG_EXCESS)).exp()


class GaussianEncoder(nn.Module):
    """A network from grids to a Gaussian over vectors of latent variables.

    Args:
        body: From grids to features.
        loc: From features to means.
        log_scale: From features to logarithms of standard deviations.
        scale: All standard deviations before training. Where a decoder learns from draws, they
            are to be small: a code that drowns in noise is ignored, and stays ignored.
    """

    def __init__(
        self, body: nn.Module, loc: nn.Module, log_scale: nn.Module, scale: float
    ) -> None:
        super().__init__()
        self.body, self.loc, self.log_scale = body, loc, _zero(log_scale)
        nn.init.constant_(self.log_scale.get_parameter("bias"), math.log(scale))

    def forward(self, x: Float[Tensor, "b c *grid"]) -> DiagonalGaussian:
        """Returns the density, in single precision at least."""
        h = self.body(x)
        kind = self.loc.get_parameter("weight").dtype
        loc, log_scale = self.loc(h).flatten(1).to(kind), self.log_scale(h).flatten(1).to(kind)
        return DiagonalGaussian(loc, soft_bound(log_scale, *LOG_SCALE).exp())


class VoxelDecoder(nn.Module):
    """A network from latent variables, and grids that are known, to two numbers per voxel."""

    log_scale: nn.Module

    def freeze_scale(self) -> None:
        """Makes what `VoxelScale` takes 0, for good."""
        _zero(self.log_scale).requires_grad_(requires_grad=False)

    def forward(
        self, z: Float[Tensor, "b m"], known: Float[Tensor, "b c *grid"] | None
    ) -> tuple[Float[Tensor, "b 1 *grid"], Float[Tensor, "b 1 *grid"]]:
        """Returns means and what `VoxelScale` takes, in single precision at least."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True, slots=True)
class Dense:
    """Two hidden layers with leaky ReLU.

    Attributes:
        patch: Voxels of a patch along each axis.
        latents: Dimensions of the latent vector.
        hidden: Units of each hidden layer.
    """

    patch: tuple[int, ...]
    latents: int
    hidden: int

    @property
    def size(self) -> int:
        """Numbers in a latent vector."""
        return self.latents

    def encoder(self, channels: int, *, scale: float = NARROW) -> GaussianEncoder:
        """Returns an encoder of `channels` grids, with the scale that it starts with."""
        inputs = channels * math.prod(self.patch)
        body = nn.Sequential(nn.Flatten(), *_hidden(inputs, self.hidden))
        loc, log_scale = (nn.Linear(self.hidden, self.latents) for _ in range(2))
        return GaussianEncoder(body, loc, log_scale, scale)

    def decoder(self, channels: int = 0) -> VoxelDecoder:
        """Returns a decoder that sees `channels` known grids."""
        return _DenseDecoder(self, channels)


@dataclass(frozen=True, kw_only=True, slots=True)
class Conv:
    """Convolutions 3 voxels wide with ELU, each halving or doubling the grid.

    Attributes:
        patch: Voxels of a patch along each axis, two or three axes.
        latents: Channels of the latent images.
        levels: Halvings.
        channels: Of every layer.
    """

    patch: tuple[int, ...]
    latents: int
    levels: int
    channels: int

    @property
    def size(self) -> int:
        """Numbers in a latent vector: all latent images."""
        return self.latents * math.prod(coarse_grid(self.patch, self.levels))

    def encoder(self, channels: int, *, scale: float = NARROW) -> GaussianEncoder:
        """Returns an encoder of `channels` grids, with the scale that it starts with."""
        axes, width = len(self.patch), self.channels
        layers: list[nn.Module] = []
        for level in range(self.levels):
            layers += [_halving(axes, width if level else channels, width), nn.ELU()]
        loc, log_scale = (conv_layer(axes, width, self.latents, 1) for _ in range(2))
        return GaussianEncoder(_ChannelsLast(*layers), loc, log_scale, scale)

    def decoder(self, channels: int = 0) -> VoxelDecoder:
        """Returns a decoder that sees `channels` known grids."""
        return _ConvDecoder(self, channels)


Networks = Dense | Conv


def networks(
    architecture: Architecture,
    patch: tuple[int, ...],
    *,
    latents: int,
    hidden: int,
    levels: int,
    channels: int,
) -> Networks:
    """Returns what builds networks of one architecture; settings of the other one do nothing.

    Raises:
        ValueError: If the patch does not divide, or a size is not positive.
    """
    if min(latents, hidden, channels) < 1:
        raise ValueError("latents, hidden and channels must be at least 1")
    if architecture == "dense":
        require_patch(patch)
        return Dense(patch=patch, latents=latents, hidden=hidden)
    coarse_grid(patch, levels)
    return Conv(patch=patch, latents=latents, levels=levels, channels=channels)


class _ChannelsLast(nn.Sequential):
    """Convolutions one after the other, channels innermost: see `channels_last`."""

    def forward(self, x: Float[Tensor, "b c *grid"]) -> Float[Tensor, "b ..."]:
        return super().forward(channels_last(x))


class _DenseDecoder(VoxelDecoder):
    def __init__(self, shape: Dense, channels: int) -> None:
        super().__init__()
        voxels = math.prod(shape.patch)
        self.grid = (1, *shape.patch)
        self.body = nn.Sequential(*_hidden(shape.latents + channels * voxels, shape.hidden))
        self.loc = nn.Linear(shape.hidden, voxels)
        self.log_scale = _zero(nn.Linear(shape.hidden, voxels))

    def forward(
        self, z: Float[Tensor, "b m"], known: Float[Tensor, "b c *grid"] | None
    ) -> tuple[Float[Tensor, "b 1 *grid"], Float[Tensor, "b 1 *grid"]]:
        """Returns means and what `VoxelScale` takes."""
        h = self.body(z if known is None else torch.cat([z, known.flatten(1).to(z)], dim=-1))
        kind = self.loc.weight.dtype
        loc, log_scale = self.loc(h).to(kind), self.log_scale(h).to(kind)
        return loc.unflatten(-1, self.grid), log_scale.unflatten(-1, self.grid)


class _ConvDecoder(VoxelDecoder):
    """Mirrors the encoder; known grids join at half of the size, where the paper has them."""

    def __init__(self, shape: Conv, channels: int) -> None:
        super().__init__()
        axes, width = len(shape.patch), shape.channels
        self.field = (shape.latents, *coarse_grid(shape.patch, shape.levels))
        self.expand = conv_layer(axes, shape.latents, width, 1)
        self.layers = nn.ModuleList(
            conv_layer(axes, width, width, 3) for _ in range(shape.levels - 1)
        )
        self.known = _halving(axes, channels, width) if channels else None
        self.last = conv_layer(axes, 2 * width if channels else width, width, 3)
        self.loc = conv_layer(axes, width, 1, 3)
        self.log_scale = _zero(conv_layer(axes, width, 1, 3))

    def forward(
        self, z: Float[Tensor, "b m"], known: Float[Tensor, "b c *grid"] | None
    ) -> tuple[Float[Tensor, "b 1 *grid"], Float[Tensor, "b 1 *grid"]]:
        """Returns means and what `VoxelScale` takes."""
        h = functional.elu(self.expand(channels_last(z.unflatten(1, self.field))))
        for layer in self.layers:
            h = functional.elu(layer(_doubled(h)))
        if self.known is not None and known is not None:
            h = torch.cat([h, functional.elu(self.known(channels_last(known))).to(h.dtype)], dim=1)
        h = functional.elu(self.last(_doubled(h)))
        kind = self.loc.get_parameter("weight").dtype
        return self.loc(h).to(kind), self.log_scale(h).to(kind)


def _hidden(inputs: int, hidden: int) -> list[nn.Module]:
    return [
        nn.Linear(inputs, hidden),
        nn.LeakyReLU(SLOPE, inplace=True),
        nn.Linear(hidden, hidden),
        nn.LeakyReLU(SLOPE, inplace=True),
    ]


def _halving(axes: int, in_channels: int, out_channels: int) -> nn.Module:
    return LAYER[axes](in_channels, out_channels, 3, stride=2, padding=1)


def _doubled(h: Tensor) -> Tensor:
    return functional.interpolate(h, scale_factor=2, mode="nearest")


def _zero(layer: nn.Module) -> nn.Module:
    """Returns `layer` with zeros for parameters: all voxels start with one scale."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
