"""The tomographic auto-encoder: variational inference of the clean patch, not of a code of it.

    q(x | y) = integral of q1(z | y_O) q2(x | z)           what imputation draws from
    p(x)     = integral of p(x | zp) N(zp; 0, I)           an empirical prior of clean patches
    p(y_O | x) = N(x_O, beta^2 I)                          beta known, or of q5(beta | z, y)

q3(zp | x) makes a bound of log p(x). r4(z | x) tells how well a patch gives away the z that it was
made of, which is what the entropy of q(x | y) depends on. The objective "tomographic" trains all.

With `skip` the networks q2 and r4 see y, too, as in the convolutional version of the paper.

References:
    Tonolini et al., Tomographic Auto-Encoder, 2021, section 2.2, Eq. 22 and supplement C.1.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mriimpute.layers.bounds import NoiseLevel, soft_bound
from mriimpute.layers.density import DiagonalGaussian
from mriimpute.layers.noise import white
from mriimpute.methods.patches.layers.networks import (
    Architecture,
    Networks,
    VoxelScale,
    fields,
    networks,
    prior_where_blind,
)
from mriimpute.methods.patches.model import Likelihood, Model, Recovery

__all__ = ["Config", "Tae"]

LOG_NOISE_SCALE = (-6.0, 0.0)  # of the logarithm of the noise level: bounds, softly
SUMMARY = 3  # numbers about y that the density of its noise level sees


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of `Tae`; the defaults are those of the paper's experiments with digits.

    Attributes:
        patch: Voxels of a patch along each axis, two or three axes.
        architecture: "dense" (fully connected) or "conv" (convolutional).
        latents: Dimensions of z; of "conv", per voxel of the coarsest grid.
        hidden: Units of each of the two hidden layers of "dense".
        levels: Halvings of the grid of "conv".
        channels: Features of each layer of "conv".
        prior_latents: As `latents`, of zp. The prior is to have the lower capacity.
        prior_hidden: As `hidden`, of the prior.
        prior_levels: As `levels`, of the prior.
        prior_channels: As `channels`, of the prior.
        skip: Let q2 and r4 see y and what is observed.
        sigma: Noise level of observations, in units of normalised intensity.
        learn_noise: Start there, and learn a density of the noise level of each patch.
        scale: Standard deviations of q2 and of the prior before training.
        floor: What these, and a learnt noise level, stay above.
        gamma: Weight of the prior and of the entropy of q2 before the warm-up; 1 after it.
        strength: Lambda, the weight of the penalty.
        localisation: C: by how many nats r4 is to be more certain of z than q1.
    """

    patch: tuple[int, ...] = (28, 28)
    architecture: Architecture = "dense"
    latents: int = 20
    hidden: int = 400
    levels: int = 2
    channels: int = 16
    prior_latents: int = 5
    prior_hidden: int = 50
    prior_levels: int = 2
    prior_channels: int = 8
    skip: bool = False
    sigma: float = 0.1
    learn_noise: bool = True
    scale: float = 0.1
    floor: float = 0.02
    gamma: float = 0.01
    strength: float = 2.0
    localisation: float = 10.0

    def __post_init__(self) -> None:
        self.networks()
        self.prior_networks()
        if self.sigma <= 0:
            raise ValueError(f"sigma must be above 0, got {self.sigma}")
        if not 0 <= self.floor < self.scale:
            raise ValueError(f"scale must be above floor >= 0, got {self.scale} and {self.floor}")
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma must be in 0 to 1, got {self.gamma}")
        if self.strength < 0:
            raise ValueError(f"strength must be at least 0, got {self.strength}")

    def networks(self) -> Networks:
        """Returns what builds q1, q2 and r4."""
        return networks(
            self.architecture,
            self.patch,
            latents=self.latents,
            hidden=self.hidden,
            levels=self.levels,
            channels=self.channels,
        )

    def prior_networks(self) -> Networks:
        """Returns what builds q3 and p(x | zp)."""
        return networks(
            self.architecture,
            self.patch,
            latents=self.prior_latents,
            hidden=self.prior_hidden,
            levels=self.prior_levels,
            channels=self.prior_channels,
        )

    def build(self) -> "Tae":
        """Returns the model."""
        return Tae(self)


class Tae(Model):
    """A recovery model q(x | y) and, apart from it, a prior p(x)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.patch, self.skip = config.patch, config.skip
        self.gamma = config.gamma
        self.strength, self.localisation = config.strength, config.localisation
        shape, prior = config.networks(), config.prior_networks()
        known = 2 if config.skip else 0
        self.encoder = shape.encoder(2)
        self.decoder = shape.decoder(known)
        self.inverse = shape.encoder(1 + known, scale=1.0)
        self.prior_encoder = prior.encoder(1)
        self.prior_decoder = prior.decoder()
        self.scale = VoxelScale(config.scale, config.floor)
        self.prior_scale = VoxelScale(config.scale, config.floor)
        self.level = NoiseLevel(config.sigma, min(config.floor, 0.5 * config.sigma))
        self.level.requires_grad_(config.learn_noise)
        self.noise = _noise_network(shape.size) if config.learn_noise else None

    @property
    def sigma(self) -> Float[Tensor, ""]:
        """The noise level, in units of normalised intensity."""
        return self.level()

    def fix_noise(self, sigma: float) -> None:
        """Sets the noise level of all patches, for good; what q2 and p(x) say is learnt."""
        self.level.fix(sigma)
        if self.noise is not None:
            self.noise.requires_grad_(requires_grad=False)

    def posterior(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> DiagonalGaussian:
        """Returns q1(z | y_O)."""
        return prior_where_blind(self.encoder(fields(y, observed)), observed)

    def decode(self, z: Float[Tensor, "s b m"]) -> Float[Tensor, "s b 1 *grid"]:
        """Returns the mean of q2(x | z), nothing being observed where q2 depends on it."""
        return self.clean(z, *self._nothing(z)).loc

    def likelihood(self, z: Float[Tensor, "s b m"]) -> Likelihood:
        """Returns the integral of p(y | x) q2(x | z) over x, for the common noise level."""
        x = self.clean(z, *self._nothing(z))
        return Likelihood(x.loc, torch.sqrt(x.scale.square() + self.sigma.square()))

    def recovery(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> Recovery:
        """Returns q1(z | y_O) and q2(x | z)."""
        return Recovery(self.posterior(y, observed), lambda z: self.clean(z, y, observed))

    def clean(
        self,
        z: Float[Tensor, "s b m"],
        y: Float[Tensor, "b 1 *grid"],
        observed: Bool[Tensor, "b 1 *grid"],
    ) -> Likelihood:
        """Returns q2(x | z), with `skip` q2(x | z, y)."""
        known = self._known(y, observed, len(z)) if self.skip else None
        loc, h = self.decoder(z.flatten(0, 1), known)
        return Likelihood(loc.unflatten(0, z.shape[:2]), self.scale(h).unflatten(0, z.shape[:2]))

    def origin(
        self,
        x: Float[Tensor, "s b 1 *grid"],
        y: Float[Tensor, "b 1 *grid"],
        observed: Bool[Tensor, "b 1 *grid"],
    ) -> DiagonalGaussian:
        """Returns r4(z | x), with `skip` r4(z | x, y), in rows s * b."""
        grids = x.flatten(0, 1)
        if self.skip:
            grids = torch.cat([grids, self._known(y, observed, len(x))], dim=1)
        q: DiagonalGaussian = self.inverse(grids)
        return q

    def prior_posterior(self, x: Float[Tensor, "b 1 *grid"]) -> DiagonalGaussian:
        """Returns q3(zp | x)."""
        q: DiagonalGaussian = self.prior_encoder(x)
        return q

    def prior(self, zp: Float[Tensor, "s b p"]) -> Likelihood:
        """Returns p(x | zp)."""
        loc, h = self.prior_decoder(zp.flatten(0, 1), None)
        shape = zp.shape[:2]
        return Likelihood(loc.unflatten(0, shape), self.prior_scale(h).unflatten(0, shape))

    def noise_level(
        self,
        z: Float[Tensor, "s b m"],
        y: Float[Tensor, "b 1 *grid"],
        observed: Bool[Tensor, "b 1 *grid"],
        generator: torch.Generator,
    ) -> Float[Tensor, "s b"]:
        """Returns the noise level, or one draw of q5(beta | z, y) for each draw of z.

        Above its floor beta is lognormal. Its prior is flat and its entropy unrewarded (Eq. 22),
        so q5 is free to settle on one value.
        """
        if self.noise is None:
            return self.sigma.expand(z.shape[:2])
        summary = _summary(y, observed).expand(len(z), -1, -1)
        loc, log_scale = self.noise(torch.cat([z, summary.to(z)], dim=-1)).to(z).unbind(-1)
        noise = white(z.shape[:2], generator, like=z)
        std = soft_bound(log_scale - 3.0, *LOG_NOISE_SCALE).exp()
        return self.level.floor + (self.level.log_excess + loc + std * noise).exp()

    def _nothing(
        self, z: Float[Tensor, "s b m"]
    ) -> tuple[Float[Tensor, "b 1 *grid"], Bool[Tensor, "b 1 *grid"]]:
        y = z.new_zeros(z.shape[1], 1, *self.patch)
        return y, torch.zeros_like(y, dtype=torch.bool)

    def _known(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"], draws: int
    ) -> Float[Tensor, "n 2 *grid"]:
        known = fields(y, observed)
        return known.expand(draws, *known.shape).flatten(0, 1)


def _noise_network(latents: int) -> nn.Linear:
    """Returns q5, which starts as the common noise level whatever it sees."""
    network = nn.Linear(latents + SUMMARY, 2, bias=False)
    nn.init.zeros_(network.weight)
    return network


def _summary(
    y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
) -> Float[Tensor, "b 3"]:
    """Returns the fraction of observed voxels, and their mean and mean square."""
    seen = observed.flatten(1)
    values = torch.where(seen, y.flatten(1), 0.0)
    count = seen.sum(-1).clamp(min=1)
    fraction = seen.to(values.dtype).mean(-1)
    return torch.stack([fraction, values.sum(-1) / count, values.square().sum(-1) / count], -1)
