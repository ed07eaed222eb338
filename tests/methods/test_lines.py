"""Tests for mriimpute.methods.lines."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.interpolate import PchipInterpolator, make_interp_spline

from mriimpute.methods.lines import blurred, hide, linear_lines, pchip_between


def test_hidden_lines_and_kept_ones_make_up_the_image(rng: np.random.Generator) -> None:
    image = rng.random((11, 5)).astype(np.float32)

    kept, hidden = hide(image, gap=3, step=1)

    assert_array_equal(kept, image[[0, 3, 6, 9]])
    for line in range(10):
        number, offset = divmod(line, 3)
        assert_array_equal(image[line], hidden[offset - 1, number] if offset else kept[number])


def test_lines_of_small_pixels_are_as_far_apart_as_slices() -> None:
    image = np.arange(13, dtype=np.float32)[:, None]

    kept, hidden = hide(image, gap=3, step=2)

    assert_array_equal(kept[:, 0], [0, 6, 12])
    assert_array_equal(hidden[..., 0], [[2, 8], [4, 10]])


def test_an_image_that_a_gap_does_not_fit_into_hides_nothing(rng: np.random.Generator) -> None:
    image = rng.random((3, 5)).astype(np.float32)

    kept, hidden = hide(image, gap=3, step=1)

    assert_array_equal(kept, image[:1])
    assert hidden.shape == (2, 0, 5)


def test_monotone_interpolation_is_that_of_scipy(rng: np.random.Generator) -> None:
    kept = rng.random((2, 5, 4)).astype(np.float32)

    found = pchip_between(kept, 3)

    expected = PchipInterpolator(np.arange(5) * 3, kept[1, :, 2])
    for interval in range(4):
        for offset in (1, 2):
            value = expected(3 * interval + offset)
            assert found[1, offset - 1, interval, 2] == pytest.approx(value, abs=1e-6)


def test_thick_lines_are_averages_over_the_profile(rng: np.random.Generator) -> None:
    image = np.zeros((61, 1), np.float32)
    image[30] = 1

    profile = blurred(image, 9.0)[:, 0]

    half = profile > 0.5 * profile.max()
    assert half.sum() == 9  # full width at half maximum, in pixels
    assert profile.sum() == pytest.approx(1.0, abs=1e-4)


def test_hidden_lines_stay_sharp_between_thick_ones(rng: np.random.Generator) -> None:
    image = rng.random((13, 5)).astype(np.float32)

    thin, hidden = hide(image, gap=3, step=1)
    thick, same = hide(image, gap=3, step=1, thickness=1.0)

    assert_array_equal(same, hidden)
    assert np.var(thick) < 0.5 * np.var(thin)


def test_linear_interpolation_is_that_of_scipy(rng: np.random.Generator) -> None:
    lines = rng.random((2, 4, 5)).astype(np.float32)

    between = linear_lines(lines, 3)

    exact = make_interp_spline(np.arange(0, 12, 3), lines, k=1, axis=1)([1, 2, 4, 5, 7, 8])
    assert_allclose(between, exact.reshape(2, 3, 2, 5).transpose(0, 2, 1, 3), rtol=1e-6)
