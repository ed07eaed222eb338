"""Completion of patches: conditional mean and multiple imputation.

Draws z_k of q(z | y_O) and the density of the voxels given each make

    mean      E[x | y_O] ~ sum_k v_k f(z_k)                                   (Dalca Eq. 4 and 8)
    draws     k ~ v,  x ~ p(x | z_k)                                          (Dalca Eq. 5)

with v = 1/K, or with self-normalised importance weights (Mattei & Frellsen, Eq. 12 and 13) for
models that want some. Observed voxels are completed like the others: keeping them is up to the
caller.

Axes: b = batch, s = draws, m = latent dimensions, grid = voxels of a patch.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019.
    Mattei & Frellsen, MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets,
    2019.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mriimpute.methods.patches.model import Model, Recovery
from mriimpute.methods.patches.objectives.importance import (
    effective_sample_size,
    log_weights,
    resample,
)

__all__ = ["Completion", "complete"]

CHUNK = 32
"""Draws decoded at once: they bound the memory, and change nothing else."""


@dataclass(frozen=True, slots=True, eq=False)
class Completion:
    """Completed patches.

    Attributes:
        mean: The conditional mean.
        draws: Posterior draws, with the noise of each voxel given z.
        latent_draws: The same draws without it: the mean given z.
        ess: Effective sample size behind the mean; None where draws were not weighed.
    """

    mean: Float[Tensor, "b 1 *grid"]
    draws: Float[Tensor, "s b 1 *grid"]
    latent_draws: Float[Tensor, "s b 1 *grid"]
    ess: Float[Tensor, " b"] | None


@torch.no_grad()
def complete(
    model: Model,
    y: Float[Tensor, "b 1 *grid"],
    observed: Bool[Tensor, "b 1 *grid"],
    *,
    samples: int,
    generator: torch.Generator,
) -> Completion:
    """Returns completed patches.

    Args:
        model: Its `recovery` is drawn from; its `weights` times `samples` draws of z are weighed.
        y: Unobserved voxels may be NaN.
        observed: Which voxels to condition on.
        samples: How many draws to return.
        generator: Gives the draws, on the device of the model.
    """
    recovery = model.recovery(y, observed)
    z = recovery.latent.sample(samples * model.weights, generator)
    if model.weights == 1:
        loc, scale = _voxels(recovery, z)
        return Completion(loc.mean(0), loc + scale * _white(loc, generator), loc, None)

    parts = [log_weights(model, recovery.latent, p, y, observed) for p in z.split(CHUNK)]
    weights = torch.cat(parts)
    uniform = torch.rand((samples, len(y)), generator=generator, device=z.device)
    chosen = resample(weights, uniform)[..., None].expand(-1, -1, z.shape[-1])
    loc, scale = _voxels(recovery, z.gather(0, chosen))
    draws = loc + scale * _white(loc, generator)
    return Completion(_mean(recovery, z, weights), draws, loc, effective_sample_size(weights))


def _voxels(
    recovery: Recovery, z: Float[Tensor, "s b m"]
) -> tuple[Float[Tensor, "s b 1 *grid"], Float[Tensor, "s b 1 *grid"]]:
    """Returns the means and the standard deviations of the voxels given each draw."""
    parts = [recovery.voxels(part) for part in z.split(CHUNK)]
    scales = [p.scale.to(z).expand_as(p.loc) for p in parts]
    return torch.cat([p.loc.to(z) for p in parts]), torch.cat(scales)


def _mean(
    recovery: Recovery, z: Float[Tensor, "s b m"], log_weights: Float[Tensor, "s b"]
) -> Float[Tensor, "b 1 *grid"]:
    """Returns sum_k v_k f(z_k), without keeping all f(z_k)."""
    weights = torch.softmax(log_weights, dim=0)
    total = torch.zeros((), dtype=z.dtype, device=z.device)
    for part, weight in zip(z.split(CHUNK), weights.split(CHUNK), strict=True):
        loc = recovery.voxels(part).loc.to(z)
        total = total + (weight.view(*weight.shape, *(1,) * (loc.ndim - 2)) * loc).sum(0)
    return total


def _white(like: Float[Tensor, "*n"], generator: torch.Generator) -> Float[Tensor, "*n"]:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
