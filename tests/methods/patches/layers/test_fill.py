"""Tests for mriimpute.methods.patches.layers.fill."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from torch import Tensor
from torch.testing import assert_close

from mriimpute.methods.patches.layers.fill import ObservedMean, fill_linear, fill_zero
from mriimpute.seeds import stream

assert_same = partial(assert_close, rtol=0, atol=0, equal_nan=True)
assert_near = partial(assert_close, rtol=1e-10, atol=1e-12)  # float64 rounding

GRIDS = [(7, 6), (5, 6, 4)]
FILLINGS = [fill_zero, fill_linear]


def scattered(
    *shape: int, generator: torch.Generator, fraction: float = 0.2
) -> tuple[Tensor, Tensor]:
    y = torch.randn(shape, generator=generator, dtype=torch.float64)
    return y, torch.rand(shape, generator=generator) < fraction


def affine(*shape: int, generator: torch.Generator) -> Tensor:
    """Returns an affine function of position per row."""
    y = torch.randn(shape[0], *(1,) * (len(shape) - 1), generator=generator, dtype=torch.float64)
    for axis in range(2, len(shape)):
        slope = torch.randn(
            shape[0], *(1,) * (len(shape) - 1), generator=generator, dtype=torch.float64
        )
        y = y + slope * torch.arange(shape[axis]).view(-1, *(1,) * (len(shape) - 1 - axis))
    return y


@given(seed=st.integers(0, 2**32 - 1), fraction=st.floats(0, 1), grid=st.sampled_from(GRIDS))
def test_observed_voxels_are_kept_and_others_never_looked_at(
    seed: int, fraction: float, grid: tuple[int, ...]
) -> None:
    generator = stream(seed, "filling")
    y, observed = scattered(2, 1, *grid, generator=generator, fraction=fraction)

    for fill in FILLINGS:
        filled = fill(y, observed)

        assert_same(filled[observed], y[observed])
        assert_same(fill(torch.where(observed, y, torch.nan), observed), filled)
        assert filled.isfinite().all()


@given(seed=st.integers(0, 2**32 - 1), fraction=st.floats(0, 1), grid=st.sampled_from(GRIDS))
def test_interpolation_stays_between_the_observed_values(
    seed: int, fraction: float, grid: tuple[int, ...]
) -> None:
    y, observed = scattered(1, 1, *grid, generator=stream(seed, "between"), fraction=fraction)
    seen = y[observed] if observed.any() else torch.zeros(1)

    filled = fill_linear(y, observed)

    assert filled.min() >= seen.min() - 1e-12
    assert filled.max() <= seen.max() + 1e-12


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slice_stack_is_interpolated_along_its_axis(axis: int, generator: torch.Generator) -> None:
    y = torch.randn(2, 1, 9, 9, 9, generator=generator, dtype=torch.float64)
    places = [1, 4, 5, 7]
    observed = torch.zeros(y.shape, dtype=torch.bool)
    observed.index_fill_(2 + axis, torch.tensor(places), value=True)

    filled = fill_linear(y, observed)

    known = y.numpy().take(places, 2 + axis)
    ends = known.take(0, 2 + axis), known.take(-1, 2 + axis)
    line = interp1d(places, known, axis=2 + axis, bounds_error=False, fill_value=ends)
    np.testing.assert_allclose(filled.numpy(), line(range(9)), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("grid", GRIDS)
def test_affine_functions_are_reproduced_inside_brackets(
    grid: tuple[int, ...], generator: torch.Generator
) -> None:
    y = affine(4, 1, *grid, generator=generator)
    observed = torch.rand(y.shape, generator=generator) < 0.2
    for corner in np.ndindex(*(2,) * len(grid)):  # then every voxel is bracketed, pass by pass
        observed[(slice(None), 0, *(-bit for bit in corner))] = True

    filled = fill_linear(torch.where(observed, y, torch.nan), observed)

    assert not observed.all()
    assert_near(filled, y)


def test_lines_weigh_inversely_to_their_gaps() -> None:
    y = torch.zeros(1, 1, 5, 7, dtype=torch.float64)
    observed = torch.zeros(y.shape, dtype=torch.bool)
    for value, place in ((1.0, (1, 3)), (3.0, (3, 3)), (5.0, (2, 2)), (9.0, (2, 6))):
        y[(0, 0, *place)], observed[(0, 0, *place)] = value, True

    centre = fill_linear(y, observed)[0, 0, 2, 3]

    down, across = 2.0, 6.0  # gaps of 2 and 4
    assert float(centre) == pytest.approx((down / 2 + across / 4) / (1 / 2 + 1 / 4))


@pytest.mark.parametrize("grid", GRIDS)
def test_single_voxel_fills_the_grid(grid: tuple[int, ...]) -> None:
    y = torch.full((1, 1, *grid), torch.nan)
    observed = torch.zeros(y.shape, dtype=torch.bool)
    y[(0, 0, *(2,) * len(grid))], observed[(0, 0, *(2,) * len(grid))] = 0.7, True

    assert_close(fill_linear(y, observed), torch.full_like(y, 0.7))


@pytest.mark.parametrize("fill", FILLINGS)
def test_nothing_observed_gives_zeros(fill: partial[Tensor]) -> None:
    y = torch.full((2, 1, 4, 4), torch.nan)

    assert_same(fill(y, torch.zeros(y.shape, dtype=torch.bool)), torch.zeros(y.shape))


@pytest.mark.parametrize("grid", GRIDS)
def test_interpolation_follows_flips_and_transpositions(
    grid: tuple[int, ...], generator: torch.Generator
) -> None:
    y, observed = scattered(2, 1, *grid, generator=generator, fraction=0.1)
    filled = fill_linear(y, observed)

    for axis in range(2, y.ndim):
        assert_near(fill_linear(y.flip(axis), observed.flip(axis)), filled.flip(axis))
        swapped = fill_linear(y.transpose(axis, 2), observed.transpose(axis, 2))
        assert_near(swapped, filled.transpose(axis, 2))


@pytest.mark.parametrize("grid", GRIDS)
def test_rows_of_a_batch_are_filled_apart(
    grid: tuple[int, ...], generator: torch.Generator
) -> None:
    y, observed = scattered(4, 1, *grid, generator=generator, fraction=0.1)
    observed[0], observed[1] = True, False

    filled = fill_linear(y, observed)

    for n in range(4):
        assert_same(fill_linear(y[n : n + 1], observed[n : n + 1])[0], filled[n])


def test_cohort_mean_is_the_mean_of_what_was_observed(generator: torch.Generator) -> None:
    y, observed = scattered(12, 1, 5, 6, generator=generator)
    observed[..., 0, 0] = False
    layer = ObservedMean((5, 6))

    for part, seen in zip(y.split(3), observed.split(3), strict=True):
        layer(torch.where(seen, part, torch.nan), seen)
    filled = layer.eval()(y, observed)

    expected = np.ma.masked_array(y.numpy(), ~observed.numpy()).mean(0)
    overall = y[observed].mean()
    mean = torch.from_numpy(expected.filled(float(overall)))
    assert expected.mask[0, 0, 0]  # never observed
    assert_near(layer.mean(), mean)
    assert_near(filled, torch.where(observed, y, mean))


def test_cohort_mean_moves_in_training_mode_only(generator: torch.Generator) -> None:
    y, observed = scattered(3, 1, 4, 4, generator=generator)
    layer = ObservedMean((4, 4)).eval()

    filled = layer(y, observed)

    assert_same(filled, fill_zero(y, observed))  # nothing was seen yet
    assert (layer.count == 0).all()


def test_average_of_two_states_is_a_mean_of_what_either_saw() -> None:
    first, second = ObservedMean((1, 1)), ObservedMean((1, 1))
    first(torch.full((1, 1, 1, 1), 2.0), torch.ones(1, 1, 1, 1, dtype=torch.bool))
    second(torch.full((3, 1, 1, 1), 6.0), torch.ones(3, 1, 1, 1, dtype=torch.bool))

    for name, value in first.state_dict().items():
        value.lerp_(second.state_dict()[name], 0.5)

    assert_same(first.mean(), torch.full((1, 1, 1), 5.0).double())


def test_state_of_the_cohort_mean_is_stored(generator: torch.Generator) -> None:
    y, observed = scattered(3, 1, 4, 4, generator=generator)
    layer, other = ObservedMean((4, 4)), ObservedMean((4, 4))
    layer(y, observed)

    other.load_state_dict(layer.state_dict())

    assert_same(other.mean(), layer.mean())
