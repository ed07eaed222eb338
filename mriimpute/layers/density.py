"""Gaussian densities that draw from an explicit generator.

`torch.distributions` draws from the global generator only, which would make a result depend on
every draw before it.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mriimpute.layers.noise import white

__all__ = ["Density", "DiagonalGaussian", "FullGaussian"]

LOG_2PI = math.log(2 * math.pi)


class Density(ABC):
    """A density over vectors of length d, one per row."""

    loc: Float[Tensor, "b d"]

    @abstractmethod
    def log_prob(self, x: Float[Tensor, "*s b d"]) -> Float[Tensor, "*s b"]:
        """Returns log p(x), in nats per row."""

    @abstractmethod
    def transport(self, noise: Float[Tensor, "s b d"]) -> Float[Tensor, "s b d"]:
        """Returns draws made of standard normal `noise`, through which gradients flow."""

    @abstractmethod
    def kl_to_standard(self) -> Float[Tensor, " b"]:
        """Returns KL[p || N(0, I)], in nats per row."""

    def sample(self, draws: int, generator: torch.Generator) -> Float[Tensor, "s b d"]:
        """Returns draws through which gradients flow."""
        return self.transport(white((draws, *self.loc.shape), generator, like=self.loc))


@dataclass(frozen=True, eq=False)
class DiagonalGaussian(Density):
    """N(loc, diag(scale^2))."""

    loc: Float[Tensor, "b d"]
    scale: Float[Tensor, "b d"]

    def log_prob(self, x: Float[Tensor, "*s b d"]) -> Float[Tensor, "*s b"]:
        """Returns log p(x), in nats per row."""
        terms = -0.5 * ((x - self.loc) / self.scale).square() - self.scale.log() - 0.5 * LOG_2PI
        return terms.sum(-1)

    def transport(self, noise: Float[Tensor, "s b d"]) -> Float[Tensor, "s b d"]:
        """Returns loc + scale * noise."""
        return self.loc + self.scale * noise

    def kl_to_standard(self) -> Float[Tensor, " b"]:
        """Returns 1/2 sum (scale^2 + loc^2 - 1 - log scale^2)."""
        variance = self.scale.square()
        return 0.5 * (variance + self.loc.square() - 1 - variance.log()).sum(-1)


@dataclass(frozen=True, eq=False)
class FullGaussian(Density):
    """N(loc, L L^T)."""

    loc: Float[Tensor, "b d"]
    tril: Float[Tensor, "b d d"]

    def log_prob(self, x: Float[Tensor, "*s b d"]) -> Float[Tensor, "*s b"]:
        """Returns log p(x), in nats per row."""
        residual = (x - self.loc)[..., None]
        white: Tensor = torch.linalg.solve_triangular(self.tril, residual, upper=False)
        return (
            -0.5 * white.square().sum((-2, -1))
            - self._log_diagonal()
            - 0.5 * LOG_2PI * x.shape[-1]
        )

    def transport(self, noise: Float[Tensor, "s b d"]) -> Float[Tensor, "s b d"]:
        """Returns loc + L noise."""
        return self.loc + torch.einsum("bde,sbe->sbd", self.tril, noise)

    def kl_to_standard(self) -> Float[Tensor, " b"]:
        """Returns 1/2 (tr L L^T + |loc|^2 - d - log |L L^T|)."""
        trace = self.tril.square().sum((-2, -1))
        size = self.loc.shape[-1]
        return 0.5 * (trace + self.loc.square().sum(-1) - size) - self._log_diagonal()

    def _log_diagonal(self) -> Float[Tensor, " b"]:
        return self.tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
