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

from mriimpute.layers.blocks import require_patch
from mriimpute.layers.bounds import NoiseLevel
from mriimpute.layers.density import LOG_2PI, FullGaussian
from mriimpute.methods.patches.layers.regression import inverse_root, regress
from mriimpute.methods.patches.model import Model, Moments, Recovery

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
        require_patch(self.patch)
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

    def log_evidence(
        self,
        posterior: FullGaussian,
        y: Float[Tensor, "b 1 *grid"],
        observed: Bool[Tensor, "b 1 *grid"],
    ) -> Float[Tensor, " b"]:
        """Returns log p(y_O), in nats per patch; zero where nothing is observed.

        For the exact posterior, log p(y_O) = log p(y_O | z) + log p(z) - log p(z | y_O) at any
        z. By the matrix determinant lemma these terms at its mean are, with
        M = W_O^T W_O + sigma^2 I and d latent dimensions,

            -2 log p(y_O) = log|M| + (|O| - d) log sigma^2 + |O| log 2 pi
                            + |y_O - mu_O - W_O z|^2 / sigma^2 + |z|^2

        which never forms a matrix of the size of the patch. The last line equals
        (|y_O - mu_O|^2 - c^T M^-1 c) / sigma^2, with c = W_O^T (y_O - mu_O), without the
        cancellation.
        """
        z = posterior.loc
        # Gated before squaring: the gradient of a square is a product, and 0 * NaN is NaN.
        residual = torch.where(observed, y.to(z) - self.decode(z[None])[0], 0.0).flatten(1)
        count = observed.flatten(1).sum(-1).to(z)
        volume = posterior.tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        nats = 0.5 * (residual / self.sigma).square().sum(-1)
        nats = nats + count * (self.sigma.log() + 0.5 * LOG_2PI)
        return volume - nats - 0.5 * z.square().sum(-1)

    def decode(self, z: Float[Tensor, "s b m"]) -> Float[Tensor, "s b 1 *grid"]:
        """Returns mu + W z."""
        with torch.autocast(z.device.type, enabled=False):
            return (self.mu + z @ self.w.mT).unflatten(-1, (1, *self.patch))

    def moments(self, posterior: FullGaussian) -> Moments:
        """Returns the moments of voxels whose latent variables have this density."""
        within = (self.w @ posterior.tril).square().sum(-1)
        return Moments(
            mean=self.decode(posterior.loc[None])[0],
            within=within.unflatten(-1, (1, *self.patch)),
            noise=self.sigma.square(),
        )

    def recovery(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> Recovery:
        """Returns the posterior with its moments, which need no draws."""
        posterior = self.posterior(y, observed)
        return Recovery(posterior, self.likelihood, lambda: self.moments(posterior))
