"""A variational auto-encoder with a sparse fully connected layer between its convolutions.

Sparse convolutions make features h on a coarse grid. All of them together have one linear
subspace, and their coordinates in it are the latent variables:

    h = W z + mu + noise,    z ~ N(0, I)

What is observed of h gives z a Gaussian posterior in closed form, of which q is the closest
factorised one. The decoder goes back through the same W and up through convolutions.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019,
    Eq. 10, section 3.4.1, second item, and section 4.3.2 ("conv-FC-sparse": 10 latents for
    digits and clothing, 100 for patches of slices).
"""

import math
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from mriimpute.layers.blocks import (
    WIDEST,
    Decoder,
    Encoder,
    coarse_grid,
    level_widths,
    require_positive,
)
from mriimpute.layers.bounds import NoiseLevel
from mriimpute.layers.density import DiagonalGaussian
from mriimpute.methods.patches.layers.linear import ObservedLinear
from mriimpute.methods.patches.model import Model

__all__ = ["Config", "ConvFcSparse"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of `ConvFcSparse`.

    Attributes:
        patch: Voxels of a patch along each axis, two or three axes.
        levels: Residual blocks before the subspace, each followed by a pooling by two.
        channels: Features of the first level; each further level has twice as many.
        widest: Where this doubling ends.
        latents: Dimensions of the subspace.
        sigma: Noise level before training, in units of normalised intensity. The lower, the
            more reconstruction weighs against the prior at first.
        floor: What the noise level stays above.
    """

    patch: tuple[int, ...] = (24, 24, 24)
    levels: int = 2
    channels: int = 16
    widest: int = WIDEST
    latents: int = 100
    sigma: float = 0.05
    floor: float = 0.01

    def __post_init__(self) -> None:
        coarse_grid(self.patch, self.levels)
        require_positive(channels=self.channels, widest=self.widest, latents=self.latents)

    def build(self) -> "ConvFcSparse":
        """Returns the model."""
        return ConvFcSparse(self)


class ConvFcSparse(Model):
    """A subspace of the whole patch between convolutions."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.patch = config.patch
        axes = len(config.patch)
        widths = level_widths(config.channels, config.levels, widest=config.widest)
        self.coarse = coarse_grid(config.patch, config.levels)
        self.encoder = Encoder(axes, widths)
        self.dense = ObservedLinear(math.prod(self.coarse), config.latents, channels=widths[-1])
        self.decoder = Decoder(axes, widths[-1], widths)
        self.noise = NoiseLevel(config.sigma, config.floor)

    @property
    def sigma(self) -> Float[Tensor, ""]:
        """The noise level, in units of normalised intensity."""
        return self.noise()

    def posterior(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> DiagonalGaussian:
        """Returns q(z | y_O): the solution of the subspace and its factorised variance."""
        h, covered = self.encoder(y, observed)
        regression = self.dense.regression(h.flatten(2), covered.flatten(2))
        return DiagonalGaussian(regression.solve()[:, 0], regression.variance()[:, 0].sqrt())

    def decode(self, z: Float[Tensor, "s b m"]) -> Float[Tensor, "s b 1 *grid"]:
        """Returns f(z)."""
        features = self.dense.decode(z.flatten(0, 1)).unflatten(2, self.coarse)
        return self.decoder(functional.relu(features)).unflatten(0, z.shape[:2])
