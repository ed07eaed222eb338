"""A mixture of Gaussian subspaces with unobserved voxels.

    k ~ pi,    z ~ N(0, I),    y | k, z ~ N(mu_k + W_k z, sigma_k^2 I)

The component is written as one more latent dimension: u ~ N(0, 1) lies in one of as many
intervals as there are components, interval k has probability pi_k, and k is the one that u falls
into. So the prior is N(0, I) like that of any model, and the posterior is exact:

    r_k = pi_k p(y_O | k) / sum_l pi_l p(y_O | l)
    p(z, u | y_O) = sum_k r_k p(z | y_O, k) p(u | u in interval k)

Axes: b = batch, s = draws, k = components, d = dimensions of a subspace, m = d + 1.

References:
    Tipping & Bishop, Mixtures of Probabilistic Principal Component Analysers, 1999.
    Dalca, Bouman, Freeman, Rost, Sabuncu & Golland, Medical Image Imputation from Image
    Collections, 2019: such a mixture of patches, learnt from sparse scans.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from mriimpute.layers.density import LOG_2PI, Density, FullGaussian
from mriimpute.methods.patches.model import Likelihood, Model, Moments, Recovery
from mriimpute.methods.patches.models import ppca

__all__ = ["Config", "MixturePosterior", "MixturePpca"]

EDGE = 1e-3  # share of an interval, at either end, where no draw of u lies: rounding ends there


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of `MixturePpca`.

    Attributes:
        patch: Voxels of a patch along each axis.
        components: Number of subspaces.
        latents: Dimensions of each.
        sigma: Noise level of each before training, in units of normalised intensity.
        floor: What noise levels stay above.
    """

    patch: tuple[int, ...] = (8, 8, 8)
    components: int = 8
    latents: int = 32
    sigma: float = 0.1
    floor: float = 0.01

    def __post_init__(self) -> None:
        self.component()  # refuses what no component can be
        if self.components < 1:
            raise ValueError(f"components must be at least 1, got {self.components}")

    def component(self) -> ppca.Config:
        """Returns the settings of one component."""
        return ppca.Config(
            patch=self.patch, latents=self.latents, sigma=self.sigma, floor=self.floor
        )

    def build(self) -> "MixturePpca":
        """Returns the model."""
        return MixturePpca(self)


@dataclass(frozen=True, eq=False)
class MixturePosterior(Density):
    """The exact p(z, u | y_O).

    Attributes:
        loc: Its mean.
        components: p(z | y_O, k).
        log_prior: log pi_k.
        log_responsibilities: log r_k.
        log_evidence: log p(y_O), in nats per patch.
    """

    loc: Float[Tensor, "b m"]
    components: tuple[FullGaussian, ...]
    log_prior: Float[Tensor, " k"]
    log_responsibilities: Float[Tensor, "b k"]
    log_evidence: Float[Tensor, " b"]

    def log_prob(self, x: Float[Tensor, "*s b m"]) -> Float[Tensor, "*s b"]:
        """Returns log p(z, u | y_O), in nats per row."""
        z, u = x[..., :-1], x[..., -1]
        which = _interval(u, self.log_prior)
        gain = (self.log_responsibilities - self.log_prior).expand(*which.shape, -1)
        total = gain.gather(-1, which[..., None])[..., 0] - 0.5 * (u.square() + LOG_2PI)
        for k, component in enumerate(self.components):
            total = torch.where(which == k, total + component.log_prob(z), total)
        return total

    def transport(self, noise: Float[Tensor, "s b m"]) -> Float[Tensor, "s b m"]:
        """Returns draws; the last coordinate of the noise chooses the component."""
        level = torch.special.ndtr(noise[..., -1].double())
        upper = self.log_responsibilities.double().exp().cumsum(-1)
        upper = upper / upper[..., -1:]
        which = (level[..., None] > upper).sum(-1).clamp(max=len(self.log_prior) - 1)

        responsibility = self.log_responsibilities.double().exp().expand(*which.shape, -1)
        responsibility = responsibility.gather(-1, which[..., None])[..., 0]
        above = upper.expand(*which.shape, -1).gather(-1, which[..., None])[..., 0] - level
        place = (1 - above / responsibility).clamp(EDGE, 1 - EDGE)
        prior = self.log_prior.double().exp()
        u = torch.special.ndtri((prior.cumsum(0) - prior)[which] + place * prior[which])

        z = noise[..., :-1]
        drawn = torch.zeros_like(z)
        for k, component in enumerate(self.components):
            drawn = torch.where((which == k)[..., None], component.transport(z), drawn)
        return torch.cat([drawn, u.to(drawn)[..., None]], -1)

    def kl_to_standard(self) -> Float[Tensor, " b"]:
        """Returns sum_k r_k (log(r_k / pi_k) + KL[p(z | y_O, k) || N(0, I)])."""
        each = torch.stack([component.kl_to_standard() for component in self.components], -1)
        log_r = self.log_responsibilities
        return (log_r.exp() * (log_r - self.log_prior + each)).sum(-1)


class MixturePpca(Model):
    """A mixture of Gaussian subspaces, each with a noise level of its own."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.patch = config.patch
        self.components = nn.ModuleList(
            ppca.Ppca(config.component()) for _ in range(config.components)
        )
        self.logits = nn.Parameter(torch.zeros(config.components))

    @property
    def subspaces(self) -> list[ppca.Ppca]:
        """The components."""
        return [part for part in self.components if isinstance(part, ppca.Ppca)]

    @property
    def log_prior(self) -> Float[Tensor, " k"]:
        """Returns log pi_k."""
        return torch.log_softmax(self.logits, 0)

    @property
    def sigma(self) -> Float[Tensor, ""]:
        """The noise level, root mean square over components."""
        levels = torch.stack([subspace.sigma for subspace in self.subspaces])
        return (self.log_prior.exp() * levels.square()).sum().sqrt()

    def posterior(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> MixturePosterior:
        """Returns the exact posterior."""
        with torch.autocast(y.device.type, enabled=False):
            log_prior = self.log_prior
            parts = [subspace.posterior(y, observed) for subspace in self.subspaces]
            given = [
                subspace.log_evidence(part, y, observed)
                for subspace, part in zip(self.subspaces, parts, strict=True)
            ]
            joint = torch.stack(given, -1) + log_prior
            evidence = torch.logsumexp(joint, -1)
            log_r = joint - evidence[:, None]
            means = torch.stack([part.loc for part in parts], -1)
            mean = (means * log_r.exp()[:, None]).sum(-1)
            u = _mean_of_u(log_prior, (log_r - log_prior).exp())
            loc = torch.cat([mean, u[:, None]], -1)
            return MixturePosterior(loc, tuple(parts), log_prior, log_r, evidence)

    def decode(self, z: Float[Tensor, "s b m"]) -> Float[Tensor, "s b 1 *grid"]:
        """Returns mu_k + W_k z for the component k that the last coordinate stands for."""
        with torch.autocast(z.device.type, enabled=False):
            which = _interval(z[..., -1], self.log_prior)
            which = which.view(*which.shape, *(1,) * (1 + len(self.patch)))
            decoded = torch.zeros((), dtype=z.dtype, device=z.device)
            for k, subspace in enumerate(self.subspaces):
                decoded = torch.where(which == k, subspace.decode(z[..., :-1]), decoded)
            return decoded

    def likelihood(self, z: Float[Tensor, "s b m"]) -> Likelihood:
        """Returns p(y | z, u), with the noise level of the component."""
        loc = self.decode(z)
        levels = torch.stack([subspace.sigma for subspace in self.subspaces])
        scale = levels[_interval(z[..., -1], self.log_prior)]
        return Likelihood(loc, scale.view(*scale.shape, *(1,) * (loc.ndim - 2)).expand_as(loc))

    def moments(self, posterior: MixturePosterior) -> Moments:
        """Returns the moments of a mixture: the variance of the means counts, too."""
        r = posterior.log_responsibilities.exp().unbind(-1)
        axes = (1,) * (1 + len(self.patch))
        mean = second = noise = torch.zeros(len(r[0]), 1, *axes[1:]).to(posterior.loc)
        for r_k, subspace, part in zip(r, self.subspaces, posterior.components, strict=True):
            own, weight = subspace.moments(part), r_k.view(-1, *axes)
            mean = mean + weight * own.mean
            second = second + weight * (own.within + own.mean.square())
            noise = noise + weight * own.noise
        within = (second - mean.square()).clamp(min=0.0)
        return Moments(mean=mean, within=within, noise=noise.expand_as(mean))

    def recovery(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> Recovery:
        """Returns the posterior with its moments, which need no draws."""
        posterior = self.posterior(y, observed)
        return Recovery(posterior, self.likelihood, lambda: self.moments(posterior))


def _bounds(log_prior: Float[Tensor, " k"]) -> Float[Tensor, " inner"]:
    """Returns where one interval of u ends and the next begins."""
    below = log_prior.double().exp().cumsum(0)[:-1].clamp(max=1.0)
    return torch.special.ndtri(below)


def _interval(u: Float[Tensor, "*s b"], log_prior: Float[Tensor, " k"]) -> Int64[Tensor, "*s b"]:
    """Returns the interval, and so the component, that each u falls into."""
    return torch.searchsorted(_bounds(log_prior.detach()), u.detach().double().contiguous())


def _mean_of_u(log_prior: Float[Tensor, " k"], gain: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """Returns the mean of u where interval k has `gain` times its prior probability.

    The normal density integrates u to its difference over an interval; summed by parts, so that
    equal gains give zero without rounding.
    """
    bounds = _bounds(log_prior).to(gain)
    density = torch.exp(-0.5 * bounds.square()) / math.sqrt(2 * math.pi)
    return (density * gain.diff(dim=-1)).sum(-1)
