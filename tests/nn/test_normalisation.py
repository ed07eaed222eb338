"""Tests for mriimpute.nn.normalisation."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from mriimpute.nn.normalisation import ObservedGroupNorm
from mriimpute.seeds import stream

assert_same = partial(assert_close, rtol=0, atol=0, equal_nan=True)
assert_near = partial(assert_close, rtol=1e-10, atol=1e-10)


def randomised(layer: ObservedGroupNorm, generator: torch.Generator) -> ObservedGroupNorm:
    for parameter in layer.parameters():
        nn.init.normal_(parameter, generator=generator)
    return layer


@pytest.mark.parametrize("axes", [2, 3])
def test_fully_observed_it_is_group_normalisation(axes: int, generator: torch.Generator) -> None:
    layer = randomised(ObservedGroupNorm(2, 6), generator).double()
    x = torch.randn(3, 6, *(4,) * axes, generator=generator, dtype=torch.float64)

    y = layer(x, torch.ones(3, 1, *(4,) * axes, dtype=torch.bool))

    assert_near(y, nn.functional.group_norm(x, 2, layer.gain, layer.bias))


def test_it_normalises_the_observed_voxels_as_if_there_were_no_others(
    generator: torch.Generator,
) -> None:
    layer = randomised(ObservedGroupNorm(2, 4), generator).double()
    x = torch.randn(1, 4, 5, 5, generator=generator, dtype=torch.float64)
    observed = torch.rand(1, 1, 5, 5, generator=generator) < 0.4
    alone = x[:, :, observed[0, 0]]

    y = layer(x, observed)

    expected = nn.functional.group_norm(alone, 2, layer.gain, layer.bias)
    assert_near(y[:, :, observed[0, 0]], expected)
    assert (y[:, :, ~observed[0, 0]] == 0).all()


@given(seed=st.integers(0, 2**32 - 1), fraction=st.floats(0.0, 1.0))
def test_unobserved_values_reach_neither_output_nor_gradient(seed: int, fraction: float) -> None:
    generator = stream(seed, "unobserved values")
    layer = randomised(ObservedGroupNorm(2, 4), generator)
    x = torch.randn(2, 4, 3, 3, 3, generator=generator)
    observed = torch.rand(2, 1, 3, 3, 3, generator=generator) < fraction

    def run(x: Tensor) -> list[Tensor]:
        x = x.requires_grad_()
        y = layer(x, observed)
        return [y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])]

    swapped = run(torch.where(observed, x, torch.nan))

    assert_same(swapped, run(x.clone()))
    assert all(part.isfinite().all() for part in swapped)


def test_groups_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="groups must divide the 4 channels, got 3"):
        ObservedGroupNorm(3, 4)
