"""How much density a trained model gives to the truth behind what was observed.

The recovery q(x | y) = integral of q(z | y) q(x | z) has no closed form. With a second encoder of
the truth, fitted to the very pairs that are scored while all else is frozen,

    log q(x_t | y_t) >= E[log q(x_t | z)] - KL[q_eta(z | x_t) || q(z | y_t)],   z ~ q_eta(z | x_t)

The paper's Eq. 23 prints + KL, which is no bound. Fitting eta tightens it, and changes nothing
about the model. The encoder has the architecture of the model's own, and starts as it.

Axes: b = batch, s = draws, grid = voxels of a patch.

References:
    Tonolini et al., Tomographic Auto-Encoder, 2021, supplement C.3, Eq. 23.
    Cremer, Li & Duvenaud, Inference Suboptimality in Variational Autoencoders, 2018.
"""

import copy
import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mriimpute.layers.density import Density, DiagonalGaussian
from mriimpute.methods.patches.model import Model, Recovery
from mriimpute.methods.patches.objectives.elbo import negative_log_density

__all__ = ["Bound", "missing_bound", "recovery_bound"]

DRAWS = 16
"""Draws behind the bound that is returned; one is behind each step."""

FINAL_RATE = 0.05
"""Of the rate, at the end of a cosine: the last steps average over draws."""


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """A lower bound of log q(x | y).

    Attributes:
        nats: Mean over patches.
        per_patch: Of each.
        trace: Mean over the batch at each step of the fit, to judge whether it has settled.
    """

    nats: float
    per_patch: Float[Tensor, " n"]
    trace: Float[Tensor, " t"]


def recovery_bound(
    model: Model,
    x: Float[Tensor, "n 1 *grid"],
    y: Float[Tensor, "n 1 *grid"],
    observed: Bool[Tensor, "n 1 *grid"],
    *,
    steps: int,
    rate: float,
    batch: int,
    generator: torch.Generator,
) -> Bound:
    """Returns the bound, after fitting an encoder of the truth.

    Args:
        model: Trained; nothing about it changes.
        x: The truth, finite.
        y: What was observed of it; unobserved voxels may be NaN.
        observed: Which voxels.
        steps: Of Adam.
        rate: At the first of them.
        batch: Patches per step.
        generator: Gives batches and draws, on the device of the model.
    """
    frozen = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
    encoder = copy.deepcopy(model).eval().requires_grad_(requires_grad=True)
    parameters = list(encoder.parameters())
    optimiser = torch.optim.Adam(parameters, lr=rate)

    trace = []
    for step in range(steps):
        rows = torch.randint(len(x), (batch,), generator=generator, device=x.device)
        for group in optimiser.param_groups:
            group["lr"] = rate * _share(step, steps)
        bound = _bound(
            frozen, encoder, x[rows], y[rows], observed[rows], draws=1, generator=generator
        )
        optimiser.zero_grad(set_to_none=True)
        (-bound.mean()).backward()
        torch.nn.utils.clip_grad_norm_([p for p in parameters if p.grad is not None], 100.0)
        optimiser.step()
        trace.append(bound.mean().detach())

    parts = zip(x.split(batch), y.split(batch), observed.split(batch), strict=True)
    with torch.no_grad():
        per_patch = torch.cat(
            [_bound(frozen, encoder, *part, draws=DRAWS, generator=generator) for part in parts]
        )
    return Bound(
        float(per_patch.mean()), per_patch, torch.stack(trace) if trace else x.new_zeros(0)
    )


def missing_bound(
    model: Model,
    recovery: Recovery,
    x: Float[Tensor, "b 1 *grid"],
    known: Bool[Tensor, "b 1 *grid"],
    missing: Bool[Tensor, "b 1 *grid"],
    noise: Float[Tensor, "s b m"],
) -> Float[Tensor, " b"]:
    """Returns a lower bound, in the mean, of log q(x_M | y_O), in nats per patch.

        log 1/K sum_k q(x_M | z_k) q(z_k | y_O) / r(z_k),    z_k ~ r(z) = q(z | y_O, x_M)

    r is the model's own encoder, shown what is missing; nothing is fitted. With an exact posterior
    every term of the sum is q(x_M | y_O), and so is the bound.

    Args:
        model: Gives r.
        recovery: Of the patches, from what was observed.
        x: What was observed, and the truth of what is missing; other voxels may be NaN.
        known: Which voxels either of them are.
        missing: Which voxels are judged.
        noise: Standard normal, from which the draws of r come.
    """
    r = model.posterior(x, known)
    terms = []
    for part in noise.split(2):  # two draws at once bound the memory
        z = r.transport(part)
        density = -negative_log_density(recovery.voxels(z), x, missing)
        terms.append(density + recovery.latent.log_prob(z) - r.log_prob(z))
    return torch.logsumexp(torch.cat(terms), dim=0) - math.log(len(noise))


def _bound(
    frozen: Model,
    encoder: Model,
    x: Float[Tensor, "b 1 *grid"],
    y: Float[Tensor, "b 1 *grid"],
    observed: Bool[Tensor, "b 1 *grid"],
    *,
    draws: int,
    generator: torch.Generator,
) -> Float[Tensor, " b"]:
    everywhere = torch.ones_like(observed)
    recovery = frozen.recovery(y, observed)
    q = encoder.posterior(x, everywhere)
    z = q.sample(draws, generator)
    density = -negative_log_density(recovery.voxels(z), x, everywhere)
    return density.mean(0) - _divergence(q, recovery.latent, z)


def _divergence(q: Density, p: Density, z: Float[Tensor, "s b m"]) -> Float[Tensor, " b"]:
    """Returns KL[q || p], exactly for independent Gaussians, else estimated from draws of q."""
    if isinstance(q, DiagonalGaussian) and isinstance(p, DiagonalGaussian):
        ratio, shift = q.scale / p.scale, (q.loc - p.loc) / p.scale
        return 0.5 * (ratio.square() + shift.square() - 1 - 2 * ratio.log()).sum(-1)
    return (q.log_prob(z) - p.log_prob(z)).mean(0)


def _share(step: int, steps: int) -> float:
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * step / steps))
