"""The exact evidence of a Gaussian subspace: no bound, hence no gap.

By the matrix determinant lemma, with M = W_O^T W_O + sigma^2 I, c = W_O^T (y_O - mu_O),
z = M^-1 c and d latent dimensions,

    -2 log p(y_O) = log|M| + (|O| - d) log sigma^2 + |O| log 2 pi
                    + |y_O - mu_O - W_O z|^2 / sigma^2 + |z|^2

which never forms a matrix of the size of the patch. The last line equals
(|y_O - mu_O|^2 - c^T M^-1 c) / sigma^2 without the cancellation.

Axes: b = batch, grid = voxels of a patch.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mriimpute.inference.elbo import negative_log_likelihood
from mriimpute.models.ppca import Ppca

__all__ = ["negative_log_evidence"]


def negative_log_evidence(
    model: Ppca, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
) -> Float[Tensor, " b"]:
    """Returns -log p(y_O), in nats per patch; zero where nothing is observed.

    For the exact posterior, log p(y_O) = log p(y_O | z) + log p(z) - log p(z | y_O) at any z; at
    its mean these are the terms above.
    """
    posterior = model.posterior(y, observed)
    z = posterior.loc
    log_2pi_half = 0.5 * math.log(2 * math.pi) * z.shape[-1]

    prior = 0.5 * z.square().sum(-1) + log_2pi_half
    volume = torch.log(posterior.tril.diagonal(dim1=-2, dim2=-1)).sum(-1) + log_2pi_half
    return negative_log_likelihood(model, z[None], y, observed)[0] + prior - volume
