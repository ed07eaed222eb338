"""Positive and bounded parameters whose gradient never dies: no hard clamps.

A hard clamp has no gradient beyond its ends: a log-variance that lands there never returns.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["NoiseLevel", "soft_bound"]


def soft_bound(x: Float[Tensor, "*n"], low: float, high: float) -> Float[Tensor, "*n"]:
    """Returns `x` bent smoothly and monotonically into (low, high).

    Example:
        >>> soft_bound(torch.tensor([-100.0, 0.0, 100.0]), -8.0, 8.0).round().tolist()
        [-8.0, 0.0, 8.0]
    """
    x = high - functional.softplus(high - x)
    return low + functional.softplus(x - low) * (high - low) / _softplus(high - low)


class NoiseLevel(nn.Module):
    """A learnable standard deviation, sigma = floor + exp(parameter).

    Args:
        sigma: Where it starts.
        floor: What it stays above. Without one the likelihood of a constant background grows
            without bound.

    Raises:
        ValueError: If not 0 <= floor < sigma.
    """

    def __init__(self, sigma: float, floor: float) -> None:
        super().__init__()
        if not 0 <= floor < sigma:
            raise ValueError(f"sigma must be above its floor >= 0, got {sigma} and {floor}")
        self.floor = floor
        self.log_excess = nn.Parameter(torch.tensor(math.log(sigma - floor)))

    def forward(self) -> Float[Tensor, ""]:
        """Returns sigma."""
        return self.floor + self.log_excess.exp()

    @torch.no_grad()
    def assign(self, sigma: float) -> None:
        """Sets sigma, or the closest value above the floor."""
        self.log_excess.fill_(math.log(max(sigma - self.floor, 1e-6)))

    def fix(self, sigma: float) -> None:
        """Sets sigma as `assign` does, for good: it is not learnt any more."""
        self.assign(sigma)
        self.requires_grad_(requires_grad=False)


def _softplus(x: float) -> float:
    return math.log1p(math.exp(x))
