"""Tests for mriimpute.layers.bounds."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from mriimpute.layers.bounds import NoiseLevel, soft_bound


@given(x=st.floats(-25, 25), low=st.floats(-10, -1), high=st.floats(0, 10))
def test_soft_bound_stays_inside_and_always_has_a_gradient(
    x: float, low: float, high: float
) -> None:
    value = torch.tensor(x, dtype=torch.float64, requires_grad=True)

    bounded = soft_bound(value, low, high)
    (slope,) = torch.autograd.grad(bounded, value)

    assert low < bounded < high
    assert slope > 0


def test_noise_level_starts_where_it_is_told_and_stays_above_its_floor() -> None:
    noise = NoiseLevel(0.1, 0.01)

    assert_close(noise(), torch.tensor(0.1))
    torch.nn.init.constant_(noise.log_excess, -50.0)
    assert noise() >= 0.01


@pytest.mark.parametrize("sigma", [0.011, 0.3, 7.0])
def test_noise_level_takes_an_assigned_value(sigma: float) -> None:
    noise = NoiseLevel(0.1, 0.01)

    noise.assign(sigma)

    assert_close(noise(), torch.tensor(sigma))


def test_noise_level_below_its_floor_is_refused() -> None:
    with pytest.raises(ValueError, match="sigma must be above its floor"):
        NoiseLevel(0.01, 0.1)
