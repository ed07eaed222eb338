"""Tests for mriimpute.layers.convolution."""

from functools import partial
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from mriimpute.layers.convolution import ObservedConv
from mriimpute.seeds import stream

assert_same = partial(assert_close, rtol=0, atol=0, equal_nan=True)
assert_near = partial(assert_close, rtol=1e-10, atol=1e-12)  # float64 rounding
CONV = {2: functional.conv2d, 3: functional.conv3d}


def randomised(layer: ObservedConv, generator: torch.Generator) -> ObservedConv:
    """Moves every parameter off its initial value: a bias of zero hides a forgotten bias."""
    for parameter in layer.parameters():
        nn.init.normal_(parameter, generator=generator)
    return layer


def naive(layer: ObservedConv, x: Tensor, observed: Tensor) -> Tensor:
    """Sums neighbour by neighbour, in Python."""
    radius, axes = layer.kernel // 2, layer.axes
    out_shape = [len(range(0, size, layer.stride)) for size in x.shape[2:]]
    y = x.new_zeros(len(x), len(layer.weight), *out_shape)
    for b, *centre in product(range(len(x)), *map(range, out_shape)):
        total, count = x.new_zeros(len(layer.weight)), 0
        for tap in product(range(layer.kernel), repeat=axes):
            at = [layer.stride * p + t - radius for p, t in zip(centre, tap, strict=True)]
            inside = all(0 <= p < size for p, size in zip(at, x.shape[2:], strict=True))
            if inside and observed[(b, 0, *at)]:
                total = total + layer.weight[(..., *tap)] @ x[(b, slice(None), *at)]
                count += 1
        if count:
            y[(b, slice(None), *centre)] = total * layer.kernel**axes / count + layer.bias
    return y


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_layer_equals_a_loop_over_neighbours(
    axes: int, kernel: int, stride: int, generator: torch.Generator
) -> None:
    layer = randomised(ObservedConv(2, 3, axes=axes, kernel=kernel, stride=stride), generator)
    layer = layer.double()
    grid = (5, 4, 3)[:axes]
    x = torch.randn(2, 2, *grid, generator=generator, dtype=torch.float64)
    observed = torch.rand(2, 1, *grid, generator=generator) < 0.3

    y = layer(x, layer.window(observed))

    assert_close(y, naive(layer, x, observed), rtol=1e-6, atol=1e-6)  # the ratio is float32


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_fully_observed_interior_is_an_ordinary_convolution(
    axes: int, stride: int, generator: torch.Generator
) -> None:
    layer = randomised(ObservedConv(2, 4, axes=axes, stride=stride).double(), generator)
    x = torch.randn(1, 2, *(8,) * axes, generator=generator, dtype=torch.float64)
    expected = CONV[axes](x, layer.weight, layer.bias, stride, 1)

    y = layer(x, layer.window(torch.ones(1, 1, *(8,) * axes, dtype=torch.bool)))

    inside = (..., *(slice(1, -1),) * axes)
    assert_near(y[inside], expected[inside])


@given(
    seed=st.integers(0, 2**32 - 1),
    fraction=st.floats(0.0, 1.0),
    axes=st.sampled_from([2, 3]),
    kernel=st.sampled_from([1, 3, 5]),
)
def test_unobserved_values_reach_neither_output_nor_gradient(
    seed: int, fraction: float, axes: int, kernel: int
) -> None:
    generator = stream(seed, "unobserved values")
    layer = randomised(ObservedConv(2, 3, axes=axes, kernel=kernel), generator)
    x = torch.randn(2, 2, *(5,) * axes, generator=generator)
    observed = torch.rand(2, 1, *(5,) * axes, generator=generator) < fraction

    def run(x: Tensor) -> list[Tensor]:
        x = x.requires_grad_()
        y = layer(x, layer.window(observed))
        return [y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])]

    assert_same(run(torch.where(observed, x, torch.nan)), run(x.clone()))


def test_only_observed_voxels_receive_gradient(generator: torch.Generator) -> None:
    layer = randomised(ObservedConv(1, 3, axes=3), generator)
    x = torch.randn(1, 1, 6, 6, 6, generator=generator, requires_grad=True)
    observed = torch.rand(1, 1, 6, 6, 6, generator=generator) < 0.5

    (gradient,) = torch.autograd.grad(layer(x, layer.window(observed)).square().sum(), x)

    assert (gradient[~observed] == 0).all()
    assert (gradient[observed] != 0).all()


def test_empty_neighbourhood_is_uncovered_and_zero(generator: torch.Generator) -> None:
    layer = randomised(ObservedConv(1, 3, axes=3), generator)
    nothing = layer.window(torch.zeros(1, 1, 4, 4, 4, dtype=torch.bool))

    y = layer(torch.full((1, 1, 4, 4, 4), torch.nan), nothing)

    assert not nothing.covered.any()
    assert (y == 0).all()


def test_gradient_equals_finite_differences(generator: torch.Generator) -> None:
    layer = randomised(ObservedConv(2, 2, axes=2).double(), generator)
    x = torch.randn(1, 2, 4, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    seen = layer.window(torch.rand(1, 1, 4, 4, generator=generator) < 0.5)

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        parameters = {"weight": weight, "bias": bias}
        return torch.func.functional_call(layer, parameters, (x, seen))

    assert torch.autograd.gradcheck(run, (x, layer.weight, layer.bias))


@pytest.mark.parametrize(
    ("kernel", "axes", "problem"),
    [
        (4, 3, "kernel must be odd to stay centred on a voxel, got 4"),
        (3, 1, "axes must be 2 or 3"),
    ],
)
def test_impossible_layer_is_refused(kernel: int, axes: int, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        ObservedConv(1, 1, axes=axes, kernel=kernel)
