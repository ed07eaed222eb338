"""Probabilistic principal component analysis with unobserved voxels.

    z ~ N(0, I),    y | z ~ N(mu + W z, sigma^2 I)

The posterior is exact, so every bound is tight: the model against which the others are tested.

References:
    Tipping & Bishop, Probabilistic Principal Component Analysis, 1999.
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019,
    Eq. 13 and 15.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mriimpute.models._contract import Model
from mriimpute.nn.bounds import NoiseLevel
from mriimpute.nn.density import FullGaussian
from mriimpute.nn.regression import inverse_root, regress

__all__ = ["Config", "Ppca"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of `Ppca`.

    Attributes:
        patch: Voxels of a patch along each axis.
        latents: Dimensions of the subspace.
        sigma: Noise level before training, in units of normalised intensity.
        floor: What the noise level stays above.
    """

    patch: tuple[int, ...] = (12, 12, 12)
    latents: int = 64
    sigma: float = 0.1
    floor: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.latents < math.prod(self.patch):
            raise ValueError(f"latents must be in 1 to {math.prod(self.patch) - 1} for this patch")

    def build(self) -> "Ppca":
        """Returns the model."""
        return Ppca(self)


class Ppca(Model):
    """A Gaussian subspace."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.patch = config.patch
        voxels = math.prod(config.patch)
        self.mu = nn.Parameter(torch.zeros(voxels))
        self.w = nn.Parameter(torch.randn(voxels, config.latents) * config.sigma)
        self.noise = NoiseLevel(config.sigma, config.floor)

    @property
    def sigma(self) -> Float[Tensor, ""]:
        """The noise level, in units of normalised intensity."""
        return self.noise()

    def posterior(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> FullGaussian:
        """Returns N(M^-1 W_O^T (y_O - mu_O), sigma^2 M^-1) with M = W_O^T W_O + sigma^2 I."""
        seen = observed.flatten(1)
        # M depends on the pattern alone, and slices make few: one for each phase of a stack.
        patterns, which = torch.unique(seen, dim=0, return_inverse=True)
        nothing = self.mu.expand(len(patterns), 1, 1, -1)
        w, mu = self.w[None, None], self.mu[None, None]
        with torch.autocast(y.device.type, enabled=False):  # half precision costs cond(M) times
            shared = regress(w, mu, nothing, patterns[:, None, None], ridge=self.sigma.square())
            root = inverse_root(shared.gram, shared.ridge)[which, 0]  # of M^-1
            residual = torch.where(seen, y.flatten(1).to(self.mu.dtype) - self.mu, 0.0)
            loc = root @ (root.mT @ (residual @ self.w)[..., None])
            return FullGaussian(loc[..., 0], self.sigma * root)

    def decode(self, z: Float[Tensor, "s b m"]) -> Float[Tensor, "s b 1 *grid"]:
        """Returns mu + W z."""
        with torch.autocast(z.device.type, enabled=False):
            return (self.mu + z @ self.w.mT).unflatten(-1, (1, *self.patch))
