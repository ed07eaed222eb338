"""The evidence bound of a line network with latent errors, which trains it.

With C the lines that are kept, T those that are hidden, and p(z) a standard normal,

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
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mriimpute.config import parse
from mriimpute.layers.density import DiagonalGaussian
from mriimpute.methods.cross_plane import LATENT
from mriimpute.methods.cross_plane import loss as plain
from mriimpute.methods.cross_plane.hidden_lines import Lines
from mriimpute.methods.cross_plane.latent_network import LatentLineNetwork, Subspace
from mriimpute.methods.cross_plane.loss import (
    CONDITIONS,
    Loss,
    Terms,
    conditions,
    cost,
    offsets_of,
    scale_of,
)
from mriimpute.methods.cross_plane.network import LineNetwork
from mriimpute.seeds import fixed

__all__ = ["Config", "bound", "build", "nats_of", "network_of", "objective", "posterior"]

ROUNDS = 12
"""Of conjugate gradients, for the mean of q: on heads the bound is then 1e-4 nats a pixel off."""

TINY = 1e-30


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(plain.Config):
    """Size of the network.

    Attributes:
        latents: Latent numbers of four pixels of an interval.
    """

    latents: int = 8

    def __post_init__(self) -> None:
        plain.Config.__post_init__(self)  # super() fails in a class with slots
        if self.latents < 1:
            raise ValueError(f"latents must be at least 1, got {self.latents}")


def build(config: Config, *, seed: int) -> LatentLineNetwork:
    """Returns the network with initial parameters that depend on the seed alone."""
    with fixed(seed, "parameters"):
        return LatentLineNetwork(
            conditions=CONDITIONS,
            channels=config.channels,
            blocks=config.blocks,
            hidden=config.hidden,
            latents=config.latents,
        )


def network_of(name: str, model: Mapping[str, Any], *, seed: int) -> LineNetwork:
    """Returns the network of a model that learns from lines, with initial parameters.

    Args:
        name: Of the model.
        model: Its settings.
        seed: Of the parameters.

    Raises:
        ConfigError: If a setting is unknown or ill-typed.
    """
    if name == LATENT:
        return build(parse(Config, model, where="model"), seed=seed)
    return plain.build(parse(plain.Config, model, where="model"), seed=seed)


def posterior(
    subspace: Subspace, white: Float[Tensor, "b t m w"], *, rounds: int = ROUNDS
) -> DiagonalGaussian:
    """Returns q of the numbers of an image, in a row.

    Args:
        subspace: What is known from the lines that are kept.
        white: Errors of its mean on the hidden ones, as a multiple of its spread.
        rounds: Of conjugate gradients; the bound is one after any number of them.
    """
    precision = 1 + subspace.information()
    z = torch.zeros_like(precision)
    residual = subspace.gathered(white)
    step, before = torch.zeros_like(z), torch.ones(len(z), device=z.device)
    for _ in range(rounds):
        nearer = residual / precision
        now = _dot(nearer, residual)
        step = nearer + _each(now / before.clamp_min(TINY)) * step
        turned = step + subspace.gathered(subspace.carried(step))
        length = _each(now / _dot(step, turned).clamp_min(TINY))
        z, residual, before = z + length * step, residual - length * turned, now
    return DiagonalGaussian(z.flatten(1), precision.rsqrt().flatten(1))


def bound(
    subspace: Subspace, hidden: Float[Tensor, "b t m w"], q: DiagonalGaussian
) -> Float[Tensor, " b"]:
    """Returns the evidence bound of each image, in nats of all its hidden pixels.

    Args:
        subspace: p(y_T | z, y_C).
        hidden: y_T.
        q: Any density of z; the closer to the posterior, the tighter the bound.
    """
    info = subspace.information()
    white = (hidden - subspace.mean) * (-subspace.log_sigma).exp()
    miss = white - subspace.carried(q.loc.view_as(info))
    density = 0.5 * miss.square() + subspace.log_sigma + 0.5 * math.log(2 * math.pi)
    scatter = 0.5 * (q.scale.square() * info.flatten(1)).sum(1)
    return -density.flatten(1).sum(1) - scatter - q.kl_to_standard()


def objective(
    network: LineNetwork,
    kept: Float[Tensor, "b n w"],
    hidden: Float[Tensor, "b t m w"],
    told: Float[Tensor, "b q"],
    *,
    loss: Loss = "squared",
    scale: Float[Tensor, ""] | None = None,
) -> Terms:
    """Returns what training minimises: as the plain network, with the bound in place of its nats.

    Args:
        network: Under training; a plain one has the objective of `cross_plane_network`.
        kept: Lines that it sees.
        hidden: Lines that it does not.
        told: The conditions.
        loss: Of the mean.
        scale: See `scale_of`; None: that of these images.
    """
    if not isinstance(network, LatentLineNetwork):
        return plain.objective(network, kept, hidden, told, loss=loss, scale=scale)
    offsets = offsets_of(hidden.shape[1] + 1, kept.device)
    found = network.subspace(kept[:, None], told, offsets)
    scale = scale_of(kept, hidden, loss) if scale is None else scale
    given = dataclasses.replace(found, mean=found.mean.detach())
    with torch.autocast(kept.device.type, enabled=False):  # rounding adds up over the rounds
        with torch.no_grad():
            q = posterior(given, (hidden - given.mean) * (-given.log_sigma).exp())
        nats = -bound(given, hidden, q).mean() / hidden[0].numel()
    return Terms(cost(found.mean - hidden, loss).mean() / scale, nats)


@torch.inference_mode()
def nats_of(network: LineNetwork, lines: Lines) -> float:
    """Returns what each hidden pixel of an image costs: minus the bound, where there is one."""
    device = next(network.parameters()).device
    kept, hidden = (torch.from_numpy(x).to(device) for x in (lines.kept, lines.hidden))
    told = conditions(lines.gap, lines.gap_mm, lines.along_mm, lines.thickness)
    return float(objective(network, kept, hidden, torch.from_numpy(told).to(device)).nats)


def _dot(x: Float[Tensor, "b l m p"], y: Float[Tensor, "b l m p"]) -> Float[Tensor, " b"]:
    return (x * y).flatten(1).sum(1)


def _each(values: Float[Tensor, " b"]) -> Float[Tensor, "b 1 1 1"]:
    return values[:, None, None, None]
