"""Importance weights of latent draws: a tighter bound, and corrected means and draws.

    log w_k = log p(y_O | z_k) + log p(z_k) - log q(z_k | y_O),    z_k ~ q
    L_K = E[log 1/K sum_k w_k] <= log p(y_O), rising with K; L_1 is the evidence lower bound

The self-normalised weights v_k = w_k / sum_k w_k make means under p(z | y_O) of draws of q, and
drawing k ~ v makes draws of p(z | y_O) (sampling, importance resampling). How many of the draws
count is the effective sample size 1 / sum v_k^2.

Axes: b = batch, s = draws, m = latent dimensions, grid = voxels of a patch.

References:
    Mattei & Frellsen, MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets,
    2019, Eq. 5, 12 and 13. Burda, Grosse & Salakhutdinov, Importance Weighted Autoencoders, 2016.
"""

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from mriimpute.layers.density import LOG_2PI, Density
from mriimpute.methods.patches.model import Model
from mriimpute.methods.patches.objectives.elbo import negative_log_likelihood

__all__ = [
    "effective_sample_size",
    "log_weights",
    "negative_importance_bound",
    "resample",
]


def negative_importance_bound(
    model: Model,
    y: Float[Tensor, "b 1 *grid"],
    observed: Bool[Tensor, "b 1 *grid"],
    *,
    draws: int,
    generator: torch.Generator,
    shown: Bool[Tensor, "b 1 *grid"] | None = None,
) -> Float[Tensor, " b"]:
    """Returns an estimate of -L_K, in nats per patch: a bound whatever q is given.

    Args:
        model: Gives p and q.
        y: Unobserved voxels may be NaN.
        observed: Which voxels count.
        draws: K.
        generator: Gives the draws.
        shown: What q is given; None: all that is observed.
    """
    q = model.posterior(y, observed if shown is None else shown)
    weights = log_weights(model, q, q.sample(draws, generator), y, observed)
    return math.log(draws) - torch.logsumexp(weights, dim=0)


def log_weights(
    model: Model,
    q: Density,
    z: Float[Tensor, "s b m"],
    y: Float[Tensor, "b 1 *grid"],
    observed: Bool[Tensor, "b 1 *grid"],
) -> Float[Tensor, "s b"]:
    """Returns log w of draws `z` of `q`."""
    prior = -0.5 * (z.square() + LOG_2PI).sum(-1)
    return prior - q.log_prob(z) - negative_log_likelihood(model, z, y, observed)


def effective_sample_size(log_weights: Float[Tensor, "s b"]) -> Float[Tensor, " b"]:
    """Returns how many draws count: 1, if one has all the weight, to s, if they have equal ones.

    Example:
        >>> effective_sample_size(torch.tensor([[0.0, 0.0], [0.0, -99.0]])).tolist()
        [2.0, 1.0]
    """
    return 1 / torch.softmax(log_weights, dim=0).square().sum(0)


def resample(
    log_weights: Float[Tensor, "s b"], uniform: Float[Tensor, "n b"]
) -> Int64[Tensor, "n b"]:
    """Returns which draws are taken, with replacement, in proportion to their weights.

    Args:
        log_weights: Of the draws.
        uniform: Numbers in [0, 1), one per draw wanted.
    """
    upper = torch.softmax(log_weights.double(), dim=0).cumsum(0)
    sums, wanted = upper.mT.contiguous(), uniform.double().mT.contiguous()
    chosen = torch.searchsorted(sums, wanted, right=True)  # else 0 took a draw without weight
    return chosen.mT.clamp(max=len(log_weights) - 1)  # rounding may leave the last sum below 1
