"""The evidence lower bound of what was observed, with its sign turned: a loss.

Axes: b = batch, s = draws, m = latent dimensions, grid = voxels of a patch.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019,
    Eq. 6 and 9. Eq. 9 is twice this loss without the term |O| log sigma^2, and so right up to a
    constant only as long as sigma is fixed; here sigma may be learnt.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mriimpute.methods.patches.model import Likelihood, Model

__all__ = ["negative_elbo", "negative_log_density", "negative_log_likelihood"]


def negative_elbo(
    model: Model,
    y: Float[Tensor, "b 1 *grid"],
    observed: Bool[Tensor, "b 1 *grid"],
    *,
    draws: int,
    beta: float,
    generator: torch.Generator,
    shown: Bool[Tensor, "b 1 *grid"] | None = None,
) -> Float[Tensor, " b"]:
    """Returns -E_q[log p(y_O | z)] + beta KL[q(z | y_C) || p(z)], in nats per patch.

    It bounds -log p(y_O) from above, whichever part C of O is shown to q; see
    `mriimpute.methods.patches.hidden`. A patch with nothing observed costs nothing where q is then
    the prior.

    Args:
        model: Gives p and q.
        y: Unobserved voxels may be NaN.
        observed: Which voxels count.
        draws: How many draws of q estimate the first term; the second is exact.
        beta: 1 for the bound, less for a weaker prior early in training.
        generator: Gives the draws.
        shown: C, what q is given; None: all that is observed.
    """
    q = model.posterior(y, observed if shown is None else shown)
    z = q.sample(draws, generator)
    return negative_log_likelihood(model, z, y, observed).mean(0) + beta * q.kl_to_standard()


def negative_log_likelihood(
    model: Model,
    z: Float[Tensor, "s b m"],
    y: Float[Tensor, "b 1 *grid"],
    observed: Bool[Tensor, "b 1 *grid"],
) -> Float[Tensor, "s b"]:
    """Returns -log p(y_O | z) = 1/2 sum_O ((y - f(z))^2 / sigma^2 + log(2 pi sigma^2))."""
    return negative_log_density(model.likelihood(z), y, observed)


def negative_log_density(
    p: Likelihood, y: Float[Tensor, "b 1 *grid"], where: Bool[Tensor, "b 1 *grid"] | None = None
) -> Float[Tensor, "s b"]:
    """Returns -log p(y) of the voxels in `where`, whatever the others hold; None: of all."""
    loc, scale = p.loc.to(p.scale), p.scale
    if where is None:
        white, volume = (y - loc) / scale, scale.log()
        count: Tensor | int = y[0].numel()
    else:
        # Gated before dividing and squaring: the gradient of either is a product, and 0 * NaN is
        # NaN.
        white = torch.where(where, y - loc, 0.0) / scale
        volume = torch.where(where, scale.log(), 0.0)
        count = where.flatten(1).sum(-1).to(white)  # a count times a number: single precision
    nats = torch.add(volume, white.square(), alpha=0.5).flatten(2).sum(-1)
    return nats + 0.5 * math.log(2 * math.pi) * count
