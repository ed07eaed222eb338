"""A variational auto-encoder of incomplete patches: the baseline that the TAE is compared with.

    z ~ N(0, I),    x | z ~ N(mu(z), diag(s(z)^2)),    y_O | x ~ N(x_O, noise^2 I)

With `noise` 0 the density of y is that of x "over the observed indexes", as in the paper's
experiments: s(z) then has to explain the noise of the scan, and draws of x are as noisy as y.
With `noise` known, p(y | z) = N(mu(z), s(z)^2 + noise^2) in closed form, and x is free of it.

References:
    Tonolini et al., Tomographic Auto-Encoder, 2021, Eq. 1 and 10, supplement C.1.
    Nazabal et al., Handling Incomplete Heterogeneous Data Using VAEs, 2018.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mriimpute.layers.density import DiagonalGaussian
from mriimpute.methods.patches.layers.networks import (
    Architecture,
    Networks,
    VoxelScale,
    fields,
    networks,
    prior_where_blind,
)
from mriimpute.methods.patches.model import Likelihood, Model, Recovery

__all__ = ["Config", "Mvae"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of `Mvae`; the defaults are those of the paper's experiments with digits.

    Attributes:
        patch: Voxels of a patch along each axis, two or three axes.
        architecture: "dense" (fully connected) or "conv" (convolutional).
        latents: Dimensions of the latent vector; of "conv", per voxel of the coarsest grid.
        hidden: Units of each of the two hidden layers of "dense".
        levels: Halvings of the grid of "conv".
        channels: Features of each layer of "conv".
        sigma: Standard deviation of x given z before training, in units of normalised intensity.
        noise: Known standard deviation of the noise of observations, which is not part of x;
            0 leaves it to x.
        floor: What the standard deviation of x given z stays above.
    """

    patch: tuple[int, ...] = (28, 28)
    architecture: Architecture = "dense"
    latents: int = 20
    hidden: int = 400
    levels: int = 2
    channels: int = 16
    sigma: float = 0.1
    noise: float = 0.0
    floor: float = 0.02

    def __post_init__(self) -> None:
        self.networks()
        if self.noise < 0:
            raise ValueError(f"noise must be at least 0, got {self.noise}")

    def networks(self) -> Networks:
        """Returns what builds the networks."""
        return networks(
            self.architecture,
            self.patch,
            latents=self.latents,
            hidden=self.hidden,
            levels=self.levels,
            channels=self.channels,
        )

    def build(self) -> "Mvae":
        """Returns the model."""
        return Mvae(self)


class Mvae(Model):
    """A variational auto-encoder with a standard deviation per voxel."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        shape = config.networks()
        self.patch, self.noise = config.patch, config.noise
        self.encoder = shape.encoder(2)
        self.decoder = shape.decoder()
        self.scale = VoxelScale(config.sigma, config.floor)

    @property
    def sigma(self) -> Float[Tensor, ""]:
        """The standard deviation that those of the voxels are multiples of, floor apart."""
        return self.scale.level()

    def fix_noise(self, sigma: float) -> None:
        """Gives all voxels this standard deviation, known noise included, for good."""
        rest = max(sigma**2 - self.noise**2, 0.0) ** 0.5
        self.scale.fix(rest)
        self.decoder.freeze_scale()

    def posterior(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> DiagonalGaussian:
        """Returns q(z | y_O)."""
        return prior_where_blind(self.encoder(fields(y, observed)), observed)

    def decode(self, z: Float[Tensor, "s b m"]) -> Float[Tensor, "s b 1 *grid"]:
        """Returns mu(z)."""
        return self.clean(z).loc

    def clean(self, z: Float[Tensor, "s b m"]) -> Likelihood:
        """Returns p(x | z)."""
        loc, h = self.decoder(z.flatten(0, 1), None)
        return Likelihood(loc.unflatten(0, z.shape[:2]), self.scale(h).unflatten(0, z.shape[:2]))

    def likelihood(self, z: Float[Tensor, "s b m"]) -> Likelihood:
        """Returns p(y | z)."""
        x = self.clean(z)
        if not self.noise:
            return x
        return Likelihood(x.loc, torch.sqrt(x.scale.square() + self.noise**2))

    def recovery(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> Recovery:
        """Returns q(z | y_O) and p(x | z), which leaves the noise out where it is known."""
        return Recovery(self.posterior(y, observed), self.clean)
