"""Tests for mriimpute.methods.noise."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mriimpute.geometry import Stack
from mriimpute.methods.base import Imputation
from mriimpute.methods.noise import (
    WIDTHS,
    ErrorCorrelation,
    ErrorSums,
    unit_noise,
    white,
    with_noise,
)
from mriimpute.volume import Volume

GAP = 3
STACK = Stack(2, tuple(range(0, 40, GAP)))
WITHIN = np.array([[1.0, 0.7], [0.7, 1.0]])
ACROSS = np.array([[-0.1, -0.05], [-0.3, -0.1]])


def falling_off(along: float, within: np.ndarray) -> ErrorCorrelation:
    """Returns a correlation with that correlation of neighbours; gaps are independent."""
    known = [np.exp(-0.25 / width**2) if width else 0.0 for width in WIDTHS]
    shares = np.array([np.interp(along, known, one) for one in np.eye(len(WIDTHS))])
    parts = np.zeros((len(WIDTHS), 2, *within.shape))
    parts[:, 0] = shares[:, None, None] * within
    return ErrorCorrelation(parts)


def several_widths() -> ErrorCorrelation:
    shares = np.array([0.1, 0.6, 0.2, 0.1])
    parts = shares[:, None, None, None] * np.stack([WITHIN, ACROSS])
    return ErrorCorrelation(parts)


def noise(correlation: ErrorCorrelation, draw: int = 1, edge: int = 48) -> np.ndarray:
    return unit_noise((edge, edge, 40), STACK, {GAP: correlation}, seed=0, case="a", draw=draw)


def images(field: np.ndarray) -> np.ndarray:
    """Returns the noise between the lines of each image of a stack, axes b, t, m, w."""
    lines = field[..., : STACK.positions[-1]]
    return lines.reshape(*lines.shape[:2], -1, GAP)[..., 1:].transpose(0, 3, 2, 1)


@pytest.mark.parametrize("along", [0.0, 0.3, 0.8])
def test_noise_has_unit_variance_and_the_asked_correlations(along: float) -> None:
    field = noise(falling_off(along, WITHIN))

    first, second = field[..., 1:39:3], field[..., 2:39:3]
    inside = np.concatenate([first, second], axis=2)
    beside = np.corrcoef(inside[1:].ravel(), inside[:-1].ravel())[0, 1]
    assert field.var() == pytest.approx(1.0, abs=0.05)
    assert beside == pytest.approx(along, abs=0.03)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] == pytest.approx(0.7, abs=0.03)


@pytest.mark.parametrize("edge", [9, 16])
def test_the_variance_is_one_at_every_voxel(edge: int) -> None:
    shape = (edge, edge + 1, 10)
    stack = Stack(2, (0, 3, 6, 9))
    draws = [
        unit_noise(shape, stack, {GAP: several_widths()}, seed=0, case="a", draw=n)
        for n in range(150)
    ]

    variance = np.var(draws, axis=0)

    # Means over many voxels, whose errors shrink accordingly: of each slab, row and column.
    for axes in [(0, 1), (0, 2), (1, 2)]:
        assert_allclose(variance.mean(axis=axes), 1.0, atol=0.1)


def test_what_is_measured_on_noise_is_what_it_was_made_of() -> None:
    made, sums = several_widths(), ErrorSums(GAP)
    for draw in range(12):
        errors = images(noise(made, draw))
        sums.add(errors, np.ones_like(errors, bool))

    found = sums.correlation()

    assert found is not None
    assert_allclose(found.parts.sum(axis=0), made.parts.sum(axis=0), atol=0.03)
    assert_allclose(found.parts, made.parts, atol=0.08)


def test_smooth_errors_make_noise_without_grain() -> None:
    """Of wide parts alone; one of them is nearly what two others are, mixed."""
    made, sums = several_widths(), ErrorSums(GAP)
    made.parts[:2] = 0
    for draw in range(4):
        errors = images(noise(made, draw))
        sums.add(errors, np.ones_like(errors, bool))

    found = sums.correlation()

    assert found is not None
    detail = [np.square(np.diff(noise(one)[..., 1::3], 2, axis=0)).mean() for one in (found, made)]
    assert detail[0] == pytest.approx(detail[1], rel=0.5)  # white noise has 60 times as much


def test_parts_are_covariances_whatever_was_measured(rng: np.random.Generator) -> None:
    errors = rng.standard_normal((2, GAP - 1, 5, 30)).astype(np.float32)
    sums = ErrorSums(GAP)
    sums.add(errors, np.ones_like(errors, bool))

    found = sums.correlation()

    assert found is not None
    same, following = np.moveaxis(found.parts, 1, 0)
    for turn in np.exp(2j * np.pi * np.arange(6) / 6):  # the spectrum of a ring of gaps
        waves = same + turn * following + np.conj(turn) * following.swapaxes(1, 2)
        assert np.linalg.eigvalsh(waves).min() > -0.01  # of unit variance in all


def test_means_over_regions_scatter_more_where_some_errors_are_wide() -> None:
    narrow = falling_off(several_widths_beside(), WITHIN)

    spread = [
        np.std([blocks(noise(correlation, draw)) for draw in range(4)])
        for correlation in (several_widths(), narrow)
    ]

    assert spread[0] > 1.2 * spread[1]


def several_widths_beside() -> float:
    field = noise(several_widths())[..., 1::3]
    return float((field[1:] * field[:-1]).mean())


def blocks(field: np.ndarray) -> np.ndarray:
    """Returns means over 8 x 8 pixels."""
    return field[..., 1::3].reshape(6, 8, 6, 8, -1).mean(axis=(1, 3))


def test_errors_that_do_not_count_change_nothing() -> None:
    errors = images(noise(several_widths()))
    counted = np.random.default_rng(0).random(errors.shape) < 0.6
    one, other = ErrorSums(GAP), ErrorSums(GAP)

    one.add(errors, counted)
    other.add(np.where(counted, errors, np.float32(np.nan)), counted)

    first, second = one.correlation(), other.correlation()
    assert first is not None
    assert second is not None
    assert_array_equal(first.parts, second.parts)


def test_the_scale_of_errors_is_their_deviation_and_says_nothing_else() -> None:
    errors = images(noise(several_widths()))
    one, other = ErrorSums(GAP), ErrorSums(GAP)

    one.add(errors, np.ones_like(errors, bool))
    other.add(4 * errors, np.ones_like(errors, bool))

    assert_allclose(one.deviation(), 1.0, atol=0.05)
    assert_allclose(other.deviation(), 4 * one.deviation(), rtol=1e-6)
    assert one.fewest() == errors[:, 0].size
    first, second = one.correlation(), other.correlation()
    assert first is not None
    assert second is not None
    assert_allclose(first.parts, second.parts, atol=1e-6)


def test_no_errors_have_no_correlation() -> None:
    sums = ErrorSums(GAP)
    errors = np.zeros((1, 2, 4, 5), np.float32)

    sums.add(errors, np.ones_like(errors, bool))

    assert sums.correlation() is None


def test_images_narrower_than_a_lag_and_of_one_gap_are_measured() -> None:
    errors = images(noise(several_widths()))[:, :, :1, :3]
    sums = ErrorSums(GAP)

    sums.add(np.ascontiguousarray(errors), np.ones_like(errors, bool))

    found = sums.correlation()
    assert found is not None
    field = noise(found)
    assert field.var() == pytest.approx(1.0, abs=0.05)


def test_neighbouring_gaps_of_one_size_go_together_as_asked_and_others_not() -> None:
    field = noise(several_widths())

    before, after, later = field[..., 2:34:3], field[..., 4:36:3], field[..., 7:39:3]
    assert (before * after).mean() == pytest.approx(-0.3, abs=0.04)
    assert abs((before * later).mean()) < 0.06


def test_gaps_of_different_sizes_are_independent() -> None:
    stack = Stack(2, (0, 3, 6, 8, 10))
    correlations = {3: several_widths(), 2: white(2)}

    field = unit_noise((96, 96, 11), stack, correlations, seed=0, case="a", draw=1)

    assert abs((field[..., 5] * field[..., 7]).mean()) < 0.05
    assert field[..., 1:6].var() == pytest.approx(1.0, abs=0.1)


def test_noise_is_white_where_nothing_is_known() -> None:
    field = unit_noise((48, 48, 40), STACK, {}, seed=0, case="a", draw=1)

    neighbours = [(field[1:] * field[:-1]).mean(), (field[..., 1:] * field[..., :-1]).mean()]
    assert_allclose(neighbours, 0.0, atol=0.02)
    assert field.var() == pytest.approx(1.0, abs=0.02)


def test_a_covariance_that_cannot_be_still_makes_unit_variance() -> None:
    parts = np.zeros((len(WIDTHS), 2, 2, 2))
    parts[1:3, 0] = [[[0.5, 0.9], [0.9, 0.5]], [[0.5, -0.9], [-0.9, 0.5]]]
    parts[1, 1] = -0.8

    field = noise(ErrorCorrelation(parts))

    assert field[..., 1::3].var() == pytest.approx(1.0, abs=0.05)
    assert field[..., 2::3].var() == pytest.approx(1.0, abs=0.05)


def test_a_draw_depends_on_its_number_alone() -> None:
    correlation = falling_off(0.5, WITHIN)

    assert_array_equal(noise(correlation, draw=7), noise(correlation, draw=7))
    assert np.abs(noise(correlation, draw=7) - noise(correlation, draw=8)).mean() > 0.5


def test_draws_of_an_imputation_are_the_mean_and_the_spread_times_the_noise() -> None:
    observed = np.zeros((12, 12, 10), bool)
    observed[..., ::3] = True
    shape, stack = observed.shape, Stack(2, (0, 3, 6, 9))
    data = np.where(observed, np.float32(7), np.float32(np.nan))
    volume = Volume(data, observed, np.eye(4))
    std = np.full(shape, 0.5, np.float32)
    correlations = {GAP: several_widths()}

    imputation = with_noise(volume, np.ones(shape, np.float32), std, stack, correlations, 0, "a")

    field = unit_noise(shape, stack, correlations, seed=0, case="a", draw=3)
    assert_array_equal(imputation.draw(3), np.where(observed, np.float32(7), 1 + 0.5 * field))


def test_draws_have_a_common_scale_of_mean_square_one_and_of_the_asked_uncertainty() -> None:
    observed = np.zeros((4, 4, 4), bool)
    observed[..., ::3] = True
    volume = Volume(np.where(observed, np.float32(7), np.float32(np.nan)), observed, np.eye(4))
    ones, stack = np.ones(observed.shape, np.float32), Stack(2, (0, 3))

    def draws(dof: int) -> Imputation:
        return with_noise(volume, 0 * ones, ones, stack, {}, 0, "a", scale_dof=dof)

    known, plain = draws(12), draws(0)

    squares = []
    for n in range(1, 1001):
        ratio = (known.drawn(n) / plain.drawn(n))[~observed]
        assert_allclose(ratio, ratio[0], rtol=1e-5)
        squares.append(ratio[0] ** 2)
    assert np.mean(squares) == pytest.approx(1, abs=0.05)
    assert np.std(squares) == pytest.approx(math.sqrt(2 / (12 - 4)), abs=0.08)
