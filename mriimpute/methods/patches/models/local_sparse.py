"""A variational auto-encoder with a sparse dense layer per subregion, for large volumes.

Sparse convolutions make features on a coarse grid. Each block of that grid has a linear subspace
of its own, and the coordinates of the block's features in it are the block's latent variables:

    h_g = W_g z_g + mu_g + noise,    z_g ~ N(0, I)

What is observed of h_g gives z_g a Gaussian posterior in closed form, of which q is the closest
factorised one. The decoder goes back through the same W and up through convolutions.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019,
    Eq. 10 and section 3.4.1, last item.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from mriimpute.layers.blocks import Decoder, Encoder, coarse_grid, level_widths, require_positive
from mriimpute.layers.bounds import NoiseLevel
from mriimpute.layers.density import DiagonalGaussian
from mriimpute.methods.patches.layers.linear import ObservedLocal
from mriimpute.methods.patches.model import Model

__all__ = ["Config", "LocalSparse"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of `LocalSparse`.

    Attributes:
        patch: Voxels of a patch along each axis, two or three axes.
        levels: Residual blocks before the subspaces, each followed by a pooling by two.
        channels: Features of the first level; each further level has twice as many.
        block: Edge of a block, in voxels of the coarsest grid.
        latents: Dimensions of the subspace of a block.
        sigma: Noise level before training, in units of normalised intensity. The lower, the
            more reconstruction weighs against the prior at first.
        floor: What the noise level stays above.
    """

    patch: tuple[int, ...] = (24, 24, 24)
    levels: int = 2
    channels: int = 16
    block: int = 2
    latents: int = 64
    sigma: float = 0.05
    floor: float = 0.01

    def __post_init__(self) -> None:
        coarse_grid(self.patch, self.levels, block=self.block)
        require_positive(channels=self.channels, latents=self.latents)

    def build(self) -> "LocalSparse":
        """Returns the model."""
        return LocalSparse(self)


class LocalSparse(Model):
    """A field of local subspaces between convolutions."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.patch = config.patch
        axes = len(config.patch)
        widths = level_widths(config.channels, config.levels)
        coarse = coarse_grid(config.patch, config.levels, block=config.block)
        self.encoder = Encoder(axes, widths)
        self.local = ObservedLocal(
            coarse, block=config.block, latents=config.latents, channels=widths[-1]
        )
        self.decoder = Decoder(axes, widths[-1], widths)
        self.noise = NoiseLevel(config.sigma, config.floor)
        self.field = (self.local.blocks, config.latents)

    @property
    def sigma(self) -> Float[Tensor, ""]:
        """The noise level, in units of normalised intensity."""
        return self.noise()

    def posterior(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> DiagonalGaussian:
        """Returns q(z | y_O): the solution of each block and its factorised variance."""
        regression = self.local.regression(*self.encoder(y, observed))
        return DiagonalGaussian(
            regression.solve().flatten(1), regression.variance().sqrt().flatten(1)
        )

    def decode(self, z: Float[Tensor, "s b m"]) -> Float[Tensor, "s b 1 *grid"]:
        """Returns f(z)."""
        features = self.local.decode(z.flatten(0, 1).unflatten(1, self.field))
        return self.decoder(functional.relu(features)).unflatten(0, z.shape[:2])
