"""The evidence bound of a line network with latent errors, which trains it.

With C the context lines, T the target lines, and p(z) a standard normal,

    log p(y_T | y_C) >= E_q[log p(y_T | z, y_C)] - KL[q(z | y_C, y_T) || p(z)]

is Eq. 9 for one image, conditioned on its lines as in a neural process. Given the lines the model
is a linear subspace, see `latent_network`, and of all Gaussians with independent
components none makes the bound tighter than

    q(z | y_C, y_T) = N(L^-1 A^T w, diag(L)^-1),    L = I + A^T A,    w = (y_T - f) / sigma.

So there is no network to find q, as there is none for the linear subspaces of the paper (Eq. 14).
The bound lies sum(log diag L) / 2 - log|L| / 2 below the evidence. As q is the best for given
parameters, their gradient takes it as given.

Axes: b = images, n = lines, m = n - 1 intervals, w = pixels of a line, q = conditions,
t = offsets inside an interval.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019;
    Garnelo et al., Neural Processes, 2018 (bounds given a context).
"""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from mriimpute.layers.density import DiagonalGaussian
from mriimpute.methods.cross_plane import loss as plain
from mriimpute.methods.cross_plane.conditioning import offsets
from mriimpute.methods.cross_plane.hidden_lines import Lines
from mriimpute.methods.cross_plane.latent_network import LatentLineNetwork, Subspace
from mriimpute.methods.cross_plane.loss import Loss, Terms, interpolation_loss, pixel_loss
from mriimpute.methods.cross_plane.network import LineNetwork

__all__ = ["bound", "nll_of", "objective", "posterior"]

ROUNDS = 12
"""Of conjugate gradients, for the mean of q: on heads the bound is then 1e-4 nats a pixel off."""

TINY = 1e-30


def posterior(
    subspace: Subspace, white: Float[Tensor, "b t m w"], *, rounds: int = ROUNDS
) -> DiagonalGaussian:
    """Returns q of the numbers of an image, in a row.

    Args:
        subspace: What is known from the context lines.
        white: Errors of its mean on the target lines, as a multiple of its std.
        rounds: Of conjugate gradients; the bound is one after any number of them.
    """
    precision = 1 + subspace.information()
    z = torch.zeros_like(precision)
    residual = subspace.gathered(white)
    step, before = torch.zeros_like(z), torch.ones(len(z), device=z.device)
    for _ in range(rounds):
        direction = residual / precision
        now = _dot(direction, residual)
        step = direction + _each(now / before.clamp_min(TINY)) * step
        product = step + subspace.gathered(subspace.carried(step))
        length = _each(now / _dot(step, product).clamp_min(TINY))
        z, residual, before = z + length * step, residual - length * product, now
    return DiagonalGaussian(z.flatten(1), precision.rsqrt().flatten(1))


def bound(
    subspace: Subspace, target: Float[Tensor, "b t m w"], q: DiagonalGaussian
) -> Float[Tensor, " b"]:
    """Returns the evidence bound of each image, in nats of all its target pixels.

    Args:
        subspace: p(y_T | z, y_C).
        target: y_T.
        q: Any density of z; the closer to the posterior, the tighter the bound.
    """
    info = subspace.information()
    white = (target - subspace.mean) * (-subspace.log_sigma).exp()
    miss = white - subspace.carried(q.loc.view_as(info))
    density = 0.5 * miss.square() + subspace.log_sigma + 0.5 * math.log(2 * math.pi)
    scatter = 0.5 * (q.scale.square() * info.flatten(1)).sum(1)
    return -density.flatten(1).sum(1) - scatter - q.kl_to_standard()


def objective(
    network: LineNetwork,
    context: Float[Tensor, "b n w"],
    target: Float[Tensor, "b t m w"],
    conditions: Float[Tensor, "b q"],
    *,
    loss: Loss = "squared",
    scale: Float[Tensor, ""] | None = None,
) -> Terms:
    """Returns what training minimises: that of `loss`, with the bound as likelihood.

    Args:
        network: Under training; a plain one has the objective of `loss`.
        context: Lines that it sees.
        target: Lines that it does not see.
        conditions: Of the images.
        loss: Of the mean.
        scale: See `interpolation_loss`; None: that of these images.
    """
    if not isinstance(network, LatentLineNetwork):
        return plain.objective(network, context, target, conditions, loss=loss, scale=scale)
    places = offsets(target.shape[1] + 1, context.device)
    subspace = network.subspace(context[:, None], conditions, places)
    scale = interpolation_loss(context, target, loss) if scale is None else scale
    given = dataclasses.replace(subspace, mean=subspace.mean.detach())
    with torch.autocast(context.device.type, enabled=False):  # rounding adds up over the rounds
        with torch.no_grad():
            q = posterior(given, (target - given.mean) * (-given.log_sigma).exp())
        nll = -bound(given, target, q).mean() / target[0].numel()
    return Terms(pixel_loss(subspace.mean - target, loss).mean() / scale, nll)


@torch.inference_mode()
def nll_of(network: LineNetwork, lines: Lines) -> float:
    """Returns the negative log-likelihood per target pixel, in nats; a bound of it, if latent."""
    device = next(network.parameters()).device
    context, target = (torch.from_numpy(x).to(device) for x in (lines.context, lines.target))
    conditions = torch.from_numpy(lines.conditions()).to(device)
    return float(objective(network, context, target, conditions).nll)


def _dot(x: Float[Tensor, "b l m p"], y: Float[Tensor, "b l m p"]) -> Float[Tensor, " b"]:
    return (x * y).flatten(1).sum(1)


def _each(values: Float[Tensor, " b"]) -> Float[Tensor, "b 1 1 1"]:
    return values[:, None, None, None]
