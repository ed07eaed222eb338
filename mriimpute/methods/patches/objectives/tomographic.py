"""The objective of the tomographic auto-encoder, with its sign turned: a loss.

With z ~ q1(z | y_O), x ~ q2(x | z), beta ~ q5(beta | z, y) and zp ~ q3(zp | x), per patch

    F = E + gamma (P - K + Hx) + Hz - lambda |R - Q - C|

    E = log p(y_O | x, beta)        P = log p(x | zp)        K = KL[q3(zp | x) || N(0, I)]
    Hx = H[q2(x | z)]               Hz = H[q1(z | y_O)]
    R = log r4(z | x)               Q = log q1(z | y_O)

The paper prints the penalty in plain brackets; without the bars F would reward R without bound.
As in Eq. 6 they enclose the expectation for one y, here a mean over draws. With one draw, as in
Algorithm 1, the penalty also counts how much R - Q varies from draw to draw.

Nothing in F but the bound on the scale of q1 keeps z from growing: where z is stretched and the
networks undo it, Hz grows and no other term changes.

Axes: b = batch, s = draws, grid = voxels of a patch.

References:
    Tonolini et al., Tomographic Auto-Encoder, 2021, Eq. 6 and 22, Algorithm 1.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mriimpute.layers.density import LOG_2PI
from mriimpute.layers.noise import white
from mriimpute.methods.patches.model import Likelihood
from mriimpute.methods.patches.models.tae import Tae
from mriimpute.methods.patches.objectives.elbo import negative_log_density

__all__ = ["Terms", "negative_tomographic", "terms"]


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What the objective is made of, in nats per patch, by its letters in Algorithm 1.

    Attributes:
        e: Log density of the observations.
        p: Log density of clean patches under the prior, given its latent variables.
        k: What these cost.
        hx: Entropy of a clean patch, given z.
        hz: Entropy of z.
        r: Log density of z, given the clean patch.
        q: Log density of z, given the observations.
    """

    e: Float[Tensor, " b"]
    p: Float[Tensor, " b"]
    k: Float[Tensor, " b"]
    hx: Float[Tensor, " b"]
    hz: Float[Tensor, " b"]
    r: Float[Tensor, " b"]
    q: Float[Tensor, " b"]


def negative_tomographic(
    model: Tae,
    y: Float[Tensor, "b 1 *grid"],
    observed: Bool[Tensor, "b 1 *grid"],
    *,
    weight: float,
    generator: torch.Generator,
    draws: int = 1,
    shown: Bool[Tensor, "b 1 *grid"] | None = None,
) -> Float[Tensor, " b"]:
    """Returns an estimate of -F, in nats per patch.

    Args:
        model: Gives all densities, and lambda and C.
        y: Unobserved voxels may be NaN.
        observed: Which voxels count in E; the other terms are about all voxels.
        weight: 0 for gamma as the model starts with, 1 for gamma = 1, linear in between.
        generator: Gives the draws.
        draws: How many draws estimate the expectations.
        shown: What q1, q2 and r4 are given in place of all that is observed.
    """
    gamma = model.gamma + (1 - model.gamma) * weight
    t = terms(model, y, observed, draws=draws, generator=generator, shown=shown)
    penalty = model.strength * (t.r - t.q - model.localisation).abs()
    return penalty - t.e - gamma * (t.p - t.k + t.hx) - t.hz


def terms(
    model: Tae,
    y: Float[Tensor, "b 1 *grid"],
    observed: Bool[Tensor, "b 1 *grid"],
    *,
    draws: int,
    generator: torch.Generator,
    shown: Bool[Tensor, "b 1 *grid"] | None = None,
) -> Terms:
    """Returns estimates of the terms; of Hx and Hz given z, and of K, the exact values."""
    given = observed if shown is None else shown

    # Recovery: what may have been measured.
    q1 = model.posterior(y, given)
    noise = white((draws, *q1.loc.shape), generator, like=q1.loc)
    z = q1.transport(noise)
    q2 = model.clean(z, y, given)
    x = torch.addcmul(q2.loc, q2.scale, white(q2.loc.shape, generator, like=z))
    beta = model.noise_level(z, y, given, generator)
    beta = beta.view(*beta.shape, *(1,) * (x.ndim - 2))

    # Prior: whether it is likely.
    grids = x.flatten(0, 1)
    q3 = model.prior_posterior(grids)
    prior = model.prior(q3.sample(1, generator))

    # Localisation: whether z can be told from it.
    r4 = model.origin(x, y, given)

    rows = (draws, len(y))
    hz = _entropy(q1.scale)
    return Terms(
        e=-negative_log_density(Likelihood(x, beta), y, observed).mean(0),
        p=-negative_log_density(prior, grids).view(rows).mean(0),
        k=q3.kl_to_standard().view(rows).mean(0),
        hx=_entropy(q2.scale.flatten(2)).mean(0),
        hz=hz,
        r=r4.log_prob(z.flatten(0, 1)).view(rows).mean(0),
        q=0.5 * (1 - noise.square()).sum(-1).mean(0) - hz,  # log q1(z), of which z is a draw
    )


def _entropy(scale: Float[Tensor, "*n m"]) -> Float[Tensor, "*n"]:
    """Returns the entropy of Gaussians with these standard deviations, in nats."""
    return scale.log().sum(-1) + 0.5 * (1 + LOG_2PI) * scale.shape[-1]
