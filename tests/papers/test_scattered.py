"""Tests for mriimpute.papers.scattered."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mriimpute.papers.scattered import linear_fill, median_fill


def scattered(rng: np.random.Generator, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    y = rng.normal(size=(13, 17)).astype(np.float32)
    return y, rng.random(y.shape) < fraction


def plane() -> np.ndarray:
    rows, columns = np.indices((13, 17))
    return (0.5 + 2.0 * rows - 0.25 * columns).astype(np.float64)


@pytest.mark.parametrize("fraction", [0.15, 0.5])
def test_plane_is_interpolated_exactly_between_pixels(
    fraction: float, rng: np.random.Generator
) -> None:
    observed = rng.random((13, 17)) < fraction
    observed[[0, 0, -1, -1], [0, -1, 0, -1]] = True  # the hull is the image

    filled = linear_fill(np.where(observed, plane(), np.nan), observed)

    assert_allclose(filled, plane(), atol=1e-9)


def test_lines_are_interpolated_across_and_repeated_beyond() -> None:
    observed = np.zeros((13, 17), bool)
    observed[1::6] = True  # rows 1 and 7
    observed[8:] = False

    filled = linear_fill(plane(), observed)

    assert_allclose(filled[1:8], plane()[1:8], atol=1e-9)
    assert_array_equal(filled[0], plane()[1])
    assert_array_equal(filled[8:], np.repeat(plane()[7:8], 5, axis=0))


@pytest.mark.parametrize(
    "pixels",
    [[(3, 4)], [(3, 4), (9, 9)], [(5, k) for k in range(17)], [(k, k) for k in range(13)]],
)
def test_without_a_triangle_the_nearest_pixel_counts(pixels: list[tuple[int, int]]) -> None:
    observed = np.zeros((13, 17), bool)
    observed[tuple(np.transpose(pixels))] = True
    y = plane()

    filled = linear_fill(y, observed)

    for at in np.ndindex(y.shape):
        distance = [np.hypot(at[0] - i, at[1] - j) for i, j in pixels]
        near = [y[p] for p, d in zip(pixels, distance, strict=True) if d <= min(distance) + 1e-9]
        assert filled[at] in near


def test_image_without_observed_pixels_is_zero() -> None:
    y = np.full((4, 5), np.nan)

    filled = linear_fill(y, np.zeros(y.shape, bool))

    assert_array_equal(filled, np.zeros_like(y))


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.6, 1.0])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_median_is_the_naive_loop(size: int, fraction: float, rng: np.random.Generator) -> None:
    y, observed = scattered(rng, fraction)
    half = size // 2
    expected = y.copy()
    for i, j in np.argwhere(~observed):
        window = np.s_[max(i - half, 0) : i + half + 1, max(j - half, 0) : j + half + 1]
        values = y[window][observed[window]]
        expected[i, j] = np.median(values) if len(values) else np.nan

    filled = median_fill(np.where(observed, y, np.nan), observed, size=size)

    assert_array_equal(filled, expected)


def test_images_taller_than_one_part_are_filtered_whole(rng: np.random.Generator) -> None:
    y = rng.normal(size=(150, 6))
    observed = rng.random(y.shape) < 0.4

    filled = median_fill(y, observed, size=3)

    assert filled.shape == y.shape
    assert_array_equal(filled[60:70], median_fill(y[55:75], observed[55:75], size=3)[5:15])


def test_median_needs_a_window_with_a_centre() -> None:
    with pytest.raises(ValueError, match="odd"):
        median_fill(np.zeros((4, 4)), np.ones((4, 4), bool), size=4)


@pytest.mark.parametrize("fill", [linear_fill, lambda y, o: median_fill(y, o, size=5)])
def test_unobserved_values_change_no_bit(fill: object, rng: np.random.Generator) -> None:
    assert callable(fill)
    y, observed = scattered(rng, 0.3)

    first = fill(y, observed)
    second = fill(np.where(observed, y, np.float32("nan")), observed)

    assert_array_equal(first, second)
    assert_array_equal(first[observed], y[observed])
    assert first.dtype == y.dtype
