"""Filling of unobserved voxels before an ordinary network sees them.

No gradient flows through a filling: nothing here is learnt by descent.

Axes: b = batch, grid = voxels, two or three axes.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

__all__ = ["ObservedMean", "fill_linear", "fill_zero"]


@torch.no_grad()
def fill_zero(
    y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
) -> Float[Tensor, "b 1 *grid"]:
    """Returns `y` with zeros where it is not observed."""
    return torch.where(observed, y, 0.0)


@torch.no_grad()
def fill_linear(
    y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
) -> Float[Tensor, "b 1 *grid"]:
    """Returns `y` interpolated linearly along grid lines where it is not observed.

    Each grid line through a voxel that has known voxels on both sides proposes a value, and the
    proposals are averaged with weights 1 / (length of the gap). What was filled is known to the
    next pass. Voxels that no line brackets even then take the nearest known value along lines,
    averaged with weights 1 / distance. Where nothing is observed the result is 0.

    On a slice stack this is interpolation along the slice axis, constant beyond the end slices;
    inside brackets it reproduces every affine function of position.

    Args:
        y: Unobserved voxels may be NaN.
        observed: Which voxels are kept, bit for bit.
    """
    value, known = torch.where(observed, y, 0.0), observed
    for beyond in (False, True):
        for _ in range(2, y.ndim):  # as many as it takes from a single voxel to all
            if known.all():
                return value
            before = known
            value, known = _fill_once(value, known, beyond=beyond)
            if torch.equal(known, before):
                break
    return value


class ObservedMean(nn.Module):
    """Fills unobserved voxels with the mean of what training observed at their position.

    In training mode each call counts its own input first. A position that was never observed
    has the mean of all others; before anything was observed the mean is 0.

    Attributes:
        total: Sum of the observed values of each position. Total and count are stored, not the
            mean: the ratio of their moving averages is again a mean of what was observed.
        count: How many there were; a real number, so that it can be averaged.
        add_up: Replaces tensors by their sums over the processes that share the input.

    Args:
        grid: Voxels of the input along each axis.
    """

    total: Float[Tensor, " 1 *grid"]
    count: Float[Tensor, " 1 *grid"]
    add_up: Callable[[list[Tensor]], None] | None = None

    def __init__(self, grid: tuple[int, ...]) -> None:
        super().__init__()
        # In float32 a sum would stop growing after some ten million patches.
        self.register_buffer("total", torch.zeros(1, *grid, dtype=torch.float64))
        self.register_buffer("count", torch.zeros(1, *grid, dtype=torch.float64))

    @torch.no_grad()
    def forward(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> Float[Tensor, "b 1 *grid"]:
        """Returns `y` filled."""
        if self.training:
            total = torch.where(observed, y, 0.0).sum(0, dtype=self.total.dtype)
            count = observed.sum(0).to(total)
            if self.add_up:
                self.add_up([total, count])
            self.total += total
            self.count += count
        return torch.where(observed, y, self.mean().to(y.dtype))

    @torch.no_grad()
    def mean(self) -> Float[Tensor, " 1 *grid"]:
        """Returns the mean of each position."""
        return _ratio(self.total, self.count, _ratio(self.total.sum(), self.count.sum(), 0.0))


def _ratio(total: Tensor, count: Tensor, otherwise: Tensor | float) -> Tensor:
    return torch.where(count > 0, total / torch.where(count > 0, count, 1.0), otherwise)


def _fill_once(value: Tensor, known: Tensor, *, beyond: bool) -> tuple[Tensor, Tensor]:
    """Returns the values, and which are known, after one look along every axis."""
    total, weight = torch.zeros_like(value), torch.zeros_like(value)
    for axis in range(2, value.ndim):
        proposal, weighting = _along(value, known, axis, beyond=beyond)
        total, weight = total + weighting * proposal, weight + weighting
    return torch.where(known, value, _ratio(total, weight, 0.0)), known | (weight > 0)


def _along(value: Tensor, known: Tensor, axis: int, *, beyond: bool) -> tuple[Tensor, Tensor]:
    """Returns what the lines along `axis` propose, and with which weight; 0: no proposal.

    Args:
        value: 0 where not known.
        known: Which voxels propose.
        axis: Of the lines.
        beyond: Whether one known neighbour is enough.
    """
    size = value.shape[axis]
    place = torch.arange(size, device=value.device).view(-1, *(1,) * (value.ndim - 1 - axis))
    before = torch.where(known, place, -1).cummax(axis).values
    after = torch.where(known, place, size).flip(axis).cummin(axis).values.flip(axis)
    left, right = before >= 0, after < size

    # In one dimension, linear interpolation is weighting by inverse distance.
    by_left = torch.where(left, 1 / (place - before).clamp(min=1).to(value.dtype), 0.0)
    by_right = torch.where(right, 1 / (after - place).clamp(min=1).to(value.dtype), 0.0)
    sum_left = by_left * value.gather(axis, before.clamp(min=0))
    sum_right = by_right * value.gather(axis, after.clamp(max=size - 1))
    proposal = _ratio(sum_left + sum_right, by_left + by_right, 0.0)

    gap = (after - before).clamp(min=1).to(value.dtype)
    weighting = torch.where(left & right, 1 / gap, by_left + by_right if beyond else 0.0)
    return proposal, weighting
