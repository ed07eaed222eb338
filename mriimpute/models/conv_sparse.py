"""A variational auto-encoder whose encoder is made of sparse convolutions.

Encoder and decoder are fully convolutional, so the latent vector is a coarse field: `latents`
numbers per voxel of a grid 2^levels times coarser than the patch. A site that no observed voxel
reaches has the prior for its posterior.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019,
    Eq. 7 and section 4.3.2 ("conv-sparse": five levels in two dimensions).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from mriimpute.models._contract import Model
from mriimpute.nn._axes import conv_layer
from mriimpute.nn.blocks import Decoder, Encoder, coarse_grid, level_widths
from mriimpute.nn.bounds import NoiseLevel, soft_bound
from mriimpute.nn.density import DiagonalGaussian

__all__ = ["Config", "ConvSparse"]

LOG_SCALE = (-6.0, 1.0)  # of the posterior: bounds, softly


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of `ConvSparse`.

    Attributes:
        patch: Voxels of a patch along each axis, two or three axes.
        levels: Residual blocks, each followed by a pooling by two.
        channels: Features of the first level; each further level has twice as many.
        latents: Dimensions of the latent vector per voxel of the coarsest grid.
        sigma: Noise level before training, in units of normalised intensity. The lower, the
            more reconstruction weighs against the prior at first.
        floor: What the noise level stays above.
    """

    patch: tuple[int, ...] = (24, 24, 24)
    levels: int = 2
    channels: int = 16
    latents: int = 16
    sigma: float = 0.05
    floor: float = 0.01

    def __post_init__(self) -> None:
        coarse_grid(self.patch, self.levels)

    def build(self) -> "ConvSparse":
        """Returns the model."""
        return ConvSparse(self)


class ConvSparse(Model):
    """A fully convolutional subspace."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        axes, widths = len(config.patch), level_widths(config.channels, config.levels)
        self.patch = config.patch
        self.field = (config.latents, *coarse_grid(config.patch, config.levels))
        self.encoder = Encoder(axes, widths)
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

    def posterior(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> DiagonalGaussian:
        """Returns q(z | y_O)."""
        h, covered = self.encoder(y, observed)

        loc = torch.where(covered, self.loc(h), 0.0)
        log_scale = soft_bound(self.log_scale(h).to(self.noise.log_excess), *LOG_SCALE)
        scale = torch.where(covered, log_scale.exp(), 1.0)

        return DiagonalGaussian(loc.to(scale).flatten(1), scale.flatten(1))

    def decode(self, z: Float[Tensor, "s b m"]) -> Float[Tensor, "s b 1 *grid"]:
        """Returns f(z)."""
        field = z.flatten(0, 1).unflatten(1, self.field)
        return self.decoder(functional.relu(self.expand(field))).unflatten(0, z.shape[:2])
