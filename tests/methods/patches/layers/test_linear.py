"""Tests for the linear layers of models of patches, and the regression below them."""

from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from mriimpute.methods.patches.layers import regression
from mriimpute.methods.patches.layers.linear import (
    ObservedLinear,
    ObservedLocal,
    join_blocks,
    split_blocks,
)
from mriimpute.methods.patches.layers.regression import Regression, inverse_root, regress
from mriimpute.seeds import stream

assert_same = partial(assert_close, rtol=0, atol=0, equal_nan=True)
assert_near = partial(assert_close, rtol=1e-9, atol=1e-11)  # float64 rounding times a condition


def randomised(layer: nn.Module, generator: torch.Generator) -> Any:
    """Moves every parameter off its initial value: a mean of zero hides a forgotten mean."""
    for parameter in layer.parameters():
        nn.init.normal_(parameter, generator=generator)
    return layer


def sparse(
    *shape: int, generator: torch.Generator, fraction: float = 0.5, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Returns random values and which of them are observed, alike in all channels."""
    y = torch.randn(shape, generator=generator, dtype=dtype)
    seen = torch.rand((shape[0], 1, *shape[2:]), generator=generator) < fraction
    return y, seen


@pytest.mark.parametrize("ridge", ["sigma", "relative"])
@pytest.mark.parametrize("channels", [1, 3])
def test_coordinates_are_the_ridge_solution_of_each_row(
    ridge: str, channels: int, generator: torch.Generator
) -> None:
    layer = ObservedLinear(12, 4, channels=channels, ridge=ridge)
    layer = randomised(layer, generator).double()
    y, observed = sparse(5, channels, 12, generator=generator, dtype=torch.float64)

    r = layer(y, observed)

    w, mu = layer.subspaces.w[0].detach().numpy(), layer.subspaces.mu[0].detach().numpy()
    for row, o, got in zip(y.numpy(), observed.numpy()[:, 0], r.detach().numpy(), strict=True):
        rows, residual = w[:, o].reshape(-1, 4), (row - mu)[:, o].reshape(-1)
        amount = (
            float(layer.subspaces.log_variance.detach().exp())
            if layer.subspaces.log_variance is not None
            else 1e-4 * (rows**2).sum() / 4
        )
        # Ridge regression is least squares with d further rows.
        a = np.vstack([rows, np.sqrt(amount) * np.eye(4)])
        expected = np.linalg.lstsq(a, np.concatenate([residual, np.zeros(4)]), rcond=None)[0]
        np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-10)


def test_vector_of_the_subspace_is_recovered_from_few_entries(generator: torch.Generator) -> None:
    layer = randomised(ObservedLinear(40, 3), generator).double()
    nn.init.constant_(layer.subspaces.log_variance, -30.0)  # Eq. 10 itself has no ridge
    r = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    y = layer.decode(r)
    observed = torch.rand(6, 1, 40, generator=generator) < 0.3

    got = layer(torch.where(observed, y, torch.nan), observed)

    assert_close(got, r, rtol=1e-6, atol=1e-6)


@given(
    seed=st.integers(0, 2**32 - 1),
    fraction=st.floats(0.0, 1.0),
    ridge=st.sampled_from(["sigma", "relative"]),
)
def test_unobserved_values_reach_neither_output_nor_gradient(
    seed: int, fraction: float, ridge: str
) -> None:
    generator = stream(seed, "unobserved values")
    linear = randomised(ObservedLinear(9, 4, channels=2, ridge=ridge), generator)
    local = randomised(ObservedLocal((4, 2, 2), block=2, latents=3, ridge=ridge), generator)
    for layer, shape in ((linear, (2, 2, 9)), (local, (2, 1, 4, 2, 2))):
        y, observed = sparse(*shape, generator=generator, fraction=fraction, dtype=torch.float32)

        def run(y: Tensor, observed: Tensor = observed, layer: nn.Module = layer) -> list[Tensor]:
            y = y.requires_grad_()
            r = layer(y, observed)
            return [r, *torch.autograd.grad(r.square().sum(), [y, *layer.parameters()])]

        swapped = run(torch.where(observed, y, torch.nan))
        assert_same(swapped, run(y.clone()))
        assert all(part.isfinite().all() for part in swapped)


@pytest.mark.parametrize("ridge", ["sigma", "relative"])
@pytest.mark.parametrize("entries", [0, 1, 3])
def test_fewer_entries_than_coordinates_are_no_problem(
    ridge: str, entries: int, generator: torch.Generator
) -> None:
    layer = ObservedLinear(12, 6, ridge=ridge)
    y = torch.randn(2, 1, 12, generator=generator)
    observed = (torch.arange(12) < entries).expand(2, 1, 12)

    r = layer(y, observed)
    gradients = torch.autograd.grad(r.square().sum(), list(layer.parameters()))

    assert r.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert entries or (r == 0).all()


@pytest.mark.parametrize("ridge", [0.0, 1e-12])
def test_failed_factorisation_is_repaired_for_its_row_alone(
    ridge: float, generator: torch.Generator
) -> None:
    w = torch.randn(1, 1, 30, 8, generator=generator, requires_grad=True)
    y = torch.randn(3, 1, 1, 30, generator=generator)
    observed = torch.ones(3, 1, 1, 30, dtype=torch.bool)
    observed[1, ..., 3:] = False  # rank 3 of 8: not positive definite after rounding
    observed[2] = False
    assert torch.linalg.cholesky_ex(regressed(w, y, observed, ridge).gram).info.any()

    r = regressed(w, y, observed, ridge).solve()
    (gradient,) = torch.autograd.grad(r.square().sum(), w)

    assert r.isfinite().all()
    assert gradient.isfinite().all()
    expected = torch.linalg.lstsq(w[0, 0], y[0, 0, 0, :, None]).solution[:, 0]
    assert_close(r[0, 0], expected, rtol=1e-3, atol=1e-4)
    assert (r[2] == 0).all()


def regressed(w: Tensor, y: Tensor, observed: Tensor, ridge: float) -> Regression:
    return regress(w, torch.zeros(w.shape[:3]), y, observed, ridge=ridge)


def test_gradient_equals_finite_differences(generator: torch.Generator) -> None:
    layer = randomised(ObservedLinear(6, 3), generator).double()
    y, observed = sparse(2, 1, 6, generator=generator, dtype=torch.float64)
    names, values = zip(*layer.named_parameters(), strict=True)

    def run(y: Tensor, *values: Tensor) -> Tensor:
        parameters = dict(zip(names, values, strict=True))
        return torch.func.functional_call(layer, parameters, (y, observed))

    assert torch.autograd.gradcheck(run, (y.requires_grad_(), *values))


@pytest.mark.parametrize("grid", [(4, 6), (4, 2, 6)])
def test_local_layer_equals_a_dense_layer_per_block(
    grid: tuple[int, ...], generator: torch.Generator
) -> None:
    layer = randomised(ObservedLocal(grid, block=2, latents=3, channels=2), generator).double()
    y, observed = sparse(3, 2, *grid, generator=generator, dtype=torch.float64)

    r = layer(y, observed)
    back = layer.decode(r)

    for g, corner in enumerate(product(*(range(0, size, 2) for size in grid))):
        here = (slice(None), slice(None), *(slice(p, p + 2) for p in corner))
        dense = ObservedLinear(2 ** len(grid), 3, channels=2).double()
        dense.subspaces.w.data, dense.subspaces.mu.data = (
            layer.subspaces.w.data[g : g + 1],
            layer.subspaces.mu.data[g : g + 1],
        )
        dense.subspaces.log_variance.data = layer.subspaces.log_variance.data
        assert_near(r[:, g], dense(y[here].flatten(2), observed[here].flatten(2)))
        assert_near(back[here].flatten(2), dense.decode(r[:, g]))


@given(
    sizes=st.lists(st.integers(1, 3), min_size=2, max_size=3),
    block=st.integers(1, 3),
    channels=st.integers(1, 3),
)
def test_joining_blocks_undoes_splitting(sizes: list[int], block: int, channels: int) -> None:
    grid = tuple(block * size for size in sizes)
    count = 2 * channels * int(np.prod(grid))
    x = torch.arange(count).float().view(2, channels, *grid)

    assert_same(join_blocks(split_blocks(x, block), grid, block), x)


def test_variance_is_that_of_the_closest_factorised_gaussian(generator: torch.Generator) -> None:
    w = torch.randn(1, 1, 9, 4, generator=generator, dtype=torch.float64)
    y, observed = sparse(2, 1, 9, generator=generator, dtype=torch.float64)
    observed[1] = False

    regression = regress(
        w, torch.zeros(1, 1, 9).double(), y[:, None], observed[:, None], ridge=0.3
    )

    precision = regression.gram / 0.3 + torch.eye(4)
    assert_near(regression.variance(), 1 / precision.diagonal(dim1=-2, dim2=-1))
    assert_same(regression.variance()[1], torch.ones(1, 4).double())  # the prior


def test_inverse_root_is_lower_triangular_and_squares_to_the_inverse(
    generator: torch.Generator,
) -> None:
    a = torch.randn(3, 2, 7, 5, generator=generator, dtype=torch.float64)

    root = inverse_root(a.mT @ a, torch.full((1, 1), 0.1).double())

    assert_same(root, root.tril())
    assert (root.diagonal(dim1=-2, dim2=-1) > 0).all()
    expected = torch.linalg.inv(a.mT @ a + 0.1 * torch.eye(5))
    assert_close(root @ root.mT, expected, rtol=1e-6, atol=1e-6)


def test_block_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="block must divide the grid"):
        ObservedLocal((4, 5), block=2, latents=1)


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest tensor held that any operation made."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        made = out if isinstance(out, tuple | list) else [out]
        held = [x.untyped_storage().nbytes() // x.itemsize for x in made if isinstance(x, Tensor)]
        self.numbers = max([self.numbers, *held])
        return out


@pytest.mark.parametrize("rows", [1, 8])
def test_no_tensor_is_larger_than_parameters_input_coordinates_or_a_chunk(
    rows: int, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = 2000
    monkeypatch.setattr(regression, "CHUNK", chunk)
    layer = ObservedLocal((8, 8, 8), block=4, latents=12, channels=3)
    y = torch.randn(rows, 3, 8, 8, 8, generator=generator)
    observed = torch.rand(rows, 1, 8, 8, 8, generator=generator) < 0.3

    with Largest() as largest:
        layer(y, observed).square().sum().backward()

    w = layer.subspaces.w
    gram = rows * layer.blocks * 12**2
    assert largest.numbers <= max(w.numel(), y.numel(), gram, chunk)
    assert largest.numbers < min(rows * w.numel(), layer.blocks * 4**3 * 12**2) or rows == 1


def test_chunks_of_positions_add_up_to_the_whole(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = randomised(ObservedLinear(30, 4, channels=2), generator).double()
    y, observed = sparse(5, 2, 30, generator=generator, dtype=torch.float64)

    def run() -> list[Tensor]:
        r = layer(y, observed)
        return [r, *torch.autograd.grad(r.square().sum(), list(layer.parameters()))]

    whole = run()
    monkeypatch.setattr(regression, "CHUNK", 7 * 4**2)

    for part, expected in zip(run(), whole, strict=True):
        assert_near(part, expected)
