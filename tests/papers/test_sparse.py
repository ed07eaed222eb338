"""Tests for mriimpute.papers.sparse."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mriimpute.papers.sparse import (
    Sparse,
    crop,
    hide,
    lines,
    pad,
    permuted,
    random_missing,
    window,
)
from mriimpute.seeds import numpy_stream

Corrupt = Callable[[np.ndarray, np.random.Generator], Sparse]

CORRUPTIONS: dict[str, Corrupt] = {
    "random": lambda images, generator: random_missing(images, 0.5, 0.0, generator),
    "window": lambda images, generator: window(images, 10, 0.0, generator),
    "lines": lambda images, generator: lines(images, 6, generator),
}
NOISY: dict[str, Corrupt] = {
    "random": lambda images, generator: random_missing(images, 0.5, 0.2, generator),
    "window": lambda images, generator: window(images, 10, 0.2, generator),
    "lines": lambda images, generator: lines(images, 6, generator, noise_std=0.2),
}


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return rng.random((40, 28, 28), dtype=np.float32)


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_observed_pixels_are_those_of_the_truth(name: str, images: np.ndarray) -> None:
    sparse = CORRUPTIONS[name](images, numpy_stream(0, name))

    np.testing.assert_array_equal(sparse.truth[:, 0], images)
    np.testing.assert_array_equal(sparse.y[sparse.observed], sparse.truth[sparse.observed])
    assert sparse.y.dtype == np.float32


@pytest.mark.parametrize("name", sorted(NOISY))
def test_same_seed_gives_the_same_bytes_and_another_seed_others(
    name: str, images: np.ndarray
) -> None:
    first, again, other = (NOISY[name](images, numpy_stream(seed, name)).y for seed in (0, 0, 1))

    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


@pytest.mark.parametrize("name", sorted(NOISY))
def test_noise_is_on_what_was_observed_and_not_on_the_truth(name: str, images: np.ndarray) -> None:
    sparse = NOISY[name](images, numpy_stream(0, name))

    noise = (sparse.y - sparse.truth)[sparse.observed]
    np.testing.assert_array_equal(sparse.truth[:, 0], images)
    assert abs(noise.std() - 0.2) < 0.02
    assert abs(noise.mean()) < 0.02


@given(fraction=st.floats(0, 0.99), seed=st.integers(0, 2**32))
def test_fraction_of_missing_pixels_is_as_asked(fraction: float, seed: int) -> None:
    images = np.zeros((20, 16, 16), np.float32)

    sparse = random_missing(images, fraction, 0.0, numpy_stream(seed, "share"))

    std = np.sqrt(fraction * (1 - fraction) / images.size)
    assert abs((~sparse.observed).mean() - fraction) < 5 * std + 0.005  # one pixel always stays
    assert sparse.observed.any(axis=(1, 2, 3)).all()


def test_every_image_has_a_pattern_of_its_own(images: np.ndarray) -> None:
    for corrupt in CORRUPTIONS.values():
        observed = corrupt(images, numpy_stream(0, "own")).observed

        assert len(np.unique(observed.reshape(40, -1), axis=0)) > 30


def test_windows_are_squares_of_10_by_10_anywhere(images: np.ndarray) -> None:
    observed = window(images, 10, 0.0, numpy_stream(0, "w")).observed[:, 0]

    rows, columns = observed.any(axis=2), observed.any(axis=1)
    assert (observed.sum(axis=(1, 2)) == 100).all()
    assert (rows.sum(axis=1) == 10).all()
    assert (columns.sum(axis=1) == 10).all()
    assert len(np.unique(rows.argmax(axis=1))) > 8


def test_window_reaches_every_corner() -> None:
    images = np.zeros((200, 4, 4), np.float32)

    observed = window(images, 3, 0.0, numpy_stream(0, "w")).observed

    assert observed.any(axis=0).all()


def test_one_pixel_in_six_lies_on_a_line_whatever_the_angle(images: np.ndarray) -> None:
    observed = lines(images, 6, numpy_stream(0, "l")).observed

    fraction = observed.mean(axis=(1, 2, 3))
    assert abs(fraction.mean() - 1 / 6) < 0.01
    assert (abs(fraction - 1 / 6) < 0.05).all()


def test_lines_are_straight_and_six_pixels_apart(images: np.ndarray) -> None:
    observed = lines(images, 6, numpy_stream(0, "l")).observed[:, 0]

    for plane in observed:
        # Along the better axis of the spectrum, energy sits at the frequency 1/6.
        spectrum = np.abs(np.fft.fft2(plane - plane.mean(), s=(96, 96)))
        row, column = np.unravel_index(spectrum.argmax(), spectrum.shape)
        frequency = np.hypot(*(min(n, 96 - n) / 96 for n in (int(row), int(column))))
        assert abs(frequency - 1 / 6) < 0.02


def test_permuting_moves_pixels_and_patterns_together(
    images: np.ndarray, rng: np.random.Generator
) -> None:
    sparse = random_missing(images, 0.5, 0.1, rng)
    order = rng.permutation(28 * 28)

    moved = permuted(sparse, order)

    back = permuted(moved, np.argsort(order))
    np.testing.assert_array_equal(back.y, sparse.y)
    np.testing.assert_array_equal(back.truth, sparse.truth)
    np.testing.assert_array_equal(moved.y[0].ravel(), sparse.y[0].ravel()[order])


@pytest.mark.parametrize(("edge", "multiple", "padded"), [(28, 32, 32), (27, 4, 28), (8, 8, 8)])
def test_cropping_undoes_padding(edge: int, multiple: int, padded: int) -> None:
    images = numpy_stream(0, "pad").random((2, edge, edge), dtype=np.float32)
    sparse = random_missing(images, 0.5, 0.0, numpy_stream(0, "pad"))

    larger = pad(sparse, multiple)

    assert larger.grid == (padded, padded)
    assert larger.observed.sum() == sparse.observed.sum()
    np.testing.assert_array_equal(crop(larger.y, sparse.grid), sparse.y)
    np.testing.assert_array_equal(crop(larger.truth, sparse.grid), sparse.truth)


def test_border_has_no_truth(images: np.ndarray) -> None:
    larger = pad(hide(images, images, images > 0.5), 32)

    assert np.isnan(larger.truth).sum() == 40 * (32 * 32 - 28 * 28)


def test_taking_images_keeps_truth_beside_them(images: np.ndarray) -> None:
    sparse = random_missing(images, 0.5, 0.0, numpy_stream(0, "take"))

    some = sparse.take(np.array([3, 1]))

    assert len(some) == 2
    np.testing.assert_array_equal(some.truth[0], sparse.truth[3])
    np.testing.assert_array_equal(some.y[1], sparse.y[1])


def test_impossible_corruptions_are_refused(images: np.ndarray) -> None:
    generator = numpy_stream(0, "x")

    with pytest.raises(ValueError, match="fraction"):
        random_missing(images, 1.0, 0.0, generator)
    with pytest.raises(ValueError, match="size must be in 1 to 28"):
        window(images, 29, 0.0, generator)
    with pytest.raises(ValueError, match="every"):
        lines(images, 0, generator)
