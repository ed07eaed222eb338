"""Tests for mriimpute.nn.pooling."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from mriimpute.nn.pooling import average_pool, max_pool
from mriimpute.seeds import stream

assert_same = partial(assert_close, rtol=0, atol=0, equal_nan=True)
POOLS = [average_pool, max_pool]


def windows(x: Tensor, size: int) -> Tensor:
    """Returns the voxels of each window on the last axis."""
    axes = x.ndim - 2
    for axis in range(2, x.ndim):
        x = x.unfold(axis, size, size)
    return x.flatten(-axes)


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("size", [2, 3])
def test_pools_equal_reductions_of_the_observed_voxels(
    axes: int, size: int, generator: torch.Generator
) -> None:
    # Negative throughout: a missing voxel that counts as 0 would win the maximum.
    x = -1 - torch.rand(2, 3, *(6,) * axes, generator=generator, dtype=torch.float64)
    observed = torch.rand(2, 1, *(6,) * axes, generator=generator) < 0.2
    seen = windows(observed.expand_as(x), size)
    values = windows(x, size)

    mean, covered = average_pool(x, observed, size)
    largest, covered_too = max_pool(x, observed, size)

    any_seen = seen.any(-1)
    assert_same(covered, any_seen[:, :1])
    assert_same(covered_too, covered)
    expected = torch.where(seen, values, torch.nan).nanmean(-1).nan_to_num(0.0)
    assert_close(mean, expected, rtol=1e-12, atol=0)
    top = torch.where(seen, values, -torch.inf).amax(-1)
    assert_same(largest, torch.where(any_seen, top, 0.0))


@given(seed=st.integers(0, 2**32 - 1), fraction=st.floats(0.0, 1.0), pool=st.sampled_from(POOLS))
def test_unobserved_values_reach_neither_output_nor_gradient(
    seed: int, fraction: float, pool: Callable[..., tuple[Tensor, Tensor]]
) -> None:
    generator = stream(seed, "unobserved values")
    x = torch.randn(1, 2, 4, 4, 4, generator=generator)
    observed = torch.rand(1, 1, 4, 4, 4, generator=generator) < fraction

    def run(x: Tensor) -> list[Tensor]:
        x = x.requires_grad_()
        y, covered = pool(x, observed)
        return [y, covered, *torch.autograd.grad(y.square().sum(), x)]

    swapped = run(torch.where(observed, x, torch.nan))

    assert_same(swapped, run(x.clone()))
    assert swapped[0].isfinite().all()
