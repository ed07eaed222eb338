"""What the fully convolutional auto-encoders have in common: all but how they look at gaps.

The latent vector is a coarse field: `latents` numbers per voxel of a grid 2^levels times coarser
than the patch. Where no observed voxel reaches, the posterior is the prior.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019,
    Eq. 7 and section 4.3.2.

Axes: b = batch, s = draws, m = latent dimensions, grid = voxels of a patch, two or three axes;
coarse = 2^levels times coarser.
"""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from mriimpute.layers.axes import conv_layer
from mriimpute.layers.blocks import (
    WIDEST,
    Decoder,
    DenseEncoder,
    coarse_grid,
    level_widths,
    require_positive,
)
from mriimpute.layers.bounds import NoiseLevel, soft_bound
from mriimpute.layers.density import DiagonalGaussian
from mriimpute.methods.patches.model import Model

__all__ = ["Convolutional", "ConvolutionalConfig", "Filled"]

LOG_SCALE = (-6.0, 1.0)  # of the posterior: bounds, softly


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvolutionalConfig:
    """Settings of a `Convolutional`.

    Attributes:
        patch: Voxels of a patch along each axis, two or three axes.
        levels: Residual blocks, each followed by a pooling by two.
        channels: Features of the first level; each further level has twice as many.
        widest: Where this doubling ends.
        latents: Dimensions of the latent vector per voxel of the coarsest grid.
        sigma: Noise level before training, in units of normalised intensity. The lower, the
            more reconstruction weighs against the prior at first.
        floor: What the noise level stays above.
    """

    patch: tuple[int, ...] = (24, 24, 24)
    levels: int = 2
    channels: int = 16
    widest: int = WIDEST
    latents: int = 16
    sigma: float = 0.05
    floor: float = 0.01

    def __post_init__(self) -> None:
        coarse_grid(self.patch, self.levels)
        require_positive(channels=self.channels, widest=self.widest, latents=self.latents)

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of each level, finest first."""
        return level_widths(self.channels, self.levels, widest=self.widest)


class Convolutional(Model):
    """A fully convolutional subspace.

    Args:
        config: Patch, channels and levels.
        encoder: Makes the features of `features`, as many as the last of the widths.
    """

    def __init__(self, config: ConvolutionalConfig, encoder: nn.Module) -> None:
        super().__init__()
        axes, widths = len(config.patch), config.widths
        self.patch = config.patch
        self.field = (config.latents, *coarse_grid(config.patch, config.levels))
        self.encoder = encoder
        self.loc = conv_layer(axes, widths[-1], config.latents, 1)
        self.log_scale = conv_layer(axes, widths[-1], config.latents, 1)
        self.expand = conv_layer(axes, config.latents, widths[-1], 1)
        self.decoder = Decoder(axes, widths[-1], widths)
        self.noise = NoiseLevel(config.sigma, config.floor)
        nn.init.zeros_(self.log_scale.get_parameter("weight"))
        nn.init.constant_(self.log_scale.get_parameter("bias"), -2.0)

    @property
    def sigma(self) -> Float[Tensor, ""]:
        """The noise level, in units of normalised intensity."""
        return self.noise()

    @abstractmethod
    def features(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> tuple[Float[Tensor, "b c *coarse"], Bool[Tensor, "b 1 *coarse"]]:
        """Returns features, and where they know of any observed voxel."""

    def posterior(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> DiagonalGaussian:
        """Returns q(z | y_O)."""
        h, covered = self.features(y, observed)

        loc = torch.where(covered, self.loc(h), 0.0)
        log_scale = soft_bound(self.log_scale(h).to(self.noise.log_excess), *LOG_SCALE)
        scale = torch.where(covered, log_scale.exp(), 1.0)

        return DiagonalGaussian(loc.to(scale).flatten(1), scale.flatten(1))

    def decode(self, z: Float[Tensor, "s b m"]) -> Float[Tensor, "s b 1 *grid"]:
        """Returns f(z)."""
        field = z.flatten(0, 1).unflatten(1, self.field)
        return self.decoder(functional.relu(self.expand(field))).unflatten(0, z.shape[:2])


class Filled(Convolutional):
    """One that fills the gaps first and has an ordinary encoder.

    Args:
        config: Patch, channels and levels.
        channels: That `fill` returns.
    """

    def __init__(self, config: ConvolutionalConfig, *, channels: int = 1) -> None:
        super().__init__(config, DenseEncoder(len(config.patch), channels, config.widths))

    @abstractmethod
    def fill(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> Float[Tensor, "b c *grid"]:
        """Returns what the encoder sees."""

    def features(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> tuple[Float[Tensor, "b c *coarse"], Bool[Tensor, "b 1 *coarse"]]:
        """Returns features; a filling reaches all of a patch, if anything of it is observed."""
        h = self.encoder(self.fill(y, observed))
        seen = observed.flatten(1).any(1).view(-1, *(1,) * (y.ndim - 1))
        return h, seen.expand(-1, -1, *h.shape[2:])
