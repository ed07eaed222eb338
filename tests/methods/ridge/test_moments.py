"""Tests for mriimpute.methods.ridge.moments."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from mriimpute.methods.ridge.filters import Filters
from mriimpute.methods.ridge.moments import (
    Config,
    Moments,
    describe,
    hidden_lines,
    moments_of_slices,
)

PLAIN = Config(columns=3, angles=1, coherence=(), strength=(), class_pixels=1e9)


def smooth_slices(rng: np.random.Generator, count: int = 6, size: int = 32) -> np.ndarray:
    noise = rng.normal(size=(count, size, size))
    return ndimage.gaussian_filter(noise, (0, 2.0, 2.0)).astype(np.float32)


def test_hidden_lines_lie_between_the_kept_ones() -> None:
    rows = np.repeat(np.arange(20, dtype=np.float32)[:, None], 5, axis=1)

    lines, hidden = next(hidden_lines(rows, 3, phases=[1]))

    assert_array_equal(lines[:, 0, 0], [1, 4, 7, 10])
    assert_array_equal(hidden[:, 0, 0], [5, 6])
    assert_array_equal(lines[:, -1, 0], [10, 13, 16, 19])
    assert_array_equal(hidden[:, -1, 0], [14, 15])


def test_steps_hide_lines_as_far_apart_as_slices() -> None:
    rows = np.repeat(np.arange(20, dtype=np.float32)[:, None], 5, axis=1)

    lines, hidden = next(hidden_lines(rows, 2, steps=(2, 1), phases=[0]))

    assert_array_equal(lines[:, 0, 0], [0, 4, 8, 12])
    assert_array_equal(hidden[:, 0, 0], [6])


def test_moments_of_slices_are_those_of_a_naive_loop(rng: np.random.Generator) -> None:
    image = smooth_slices(rng, 1, 14)[0]
    half, gap = PLAIN.columns // 2, 3

    moments = moments_of_slices(image[None], gap, 1.0, PLAIN)

    gram = np.zeros((PLAIN.features, PLAIN.features))
    cross = np.zeros((gap - 1, PLAIN.features))
    count = 0
    for pixels in (image.astype(float), image.T.astype(float)):
        padded = np.pad(pixels, ((0, 0), (half, half)), mode="edge")
        for start in range(gap, len(pixels) - 2 * gap):
            for column in range(pixels.shape[1]):
                rows = [start - gap, start, start + gap, start + 2 * gap]
                window = np.concatenate([padded[r, column : column + 3] for r in rows])
                base = (pixels[start, column] + pixels[start + gap, column]) / 2
                u = window - base
                if np.abs(u).max() <= 0.01:
                    continue
                gram += np.outer(u, u)
                count += 1
                for d in (1, 2):
                    before, after = pixels[start, column], pixels[start + gap, column]
                    linear = before + d / gap * (after - before)
                    cross[d - 1] += u * (pixels[start + d, column] - linear)
    assert moments.count[0] == count
    assert_allclose(moments.gram[0], gram, rtol=1e-4, atol=1e-4)
    assert_allclose(moments.cross[:, 0], cross, rtol=1e-3, atol=1e-4)


def test_moments_of_two_halves_add_up_to_those_of_the_whole(rng: np.random.Generator) -> None:
    slices = smooth_slices(rng)

    whole = moments_of_slices(slices, 3, 1.0, Config())
    halves = moments_of_slices(slices[:2], 3, 1.0, Config()) + moments_of_slices(
        slices[2:], 3, 1.0, Config()
    )

    for name, array in whole.arrays().items():
        assert_allclose(halves.arrays()[name], array, rtol=1e-5, atol=1e-5, err_msg=name)


def test_filters_are_the_ridge_solution(rng: np.random.Generator) -> None:
    slices = smooth_slices(rng)
    moments = moments_of_slices(slices, 3, 1.0, PLAIN)
    lines, _ = next(hidden_lines(slices[0], 3, phases=[0]))

    mean, _ = Filters(moments, PLAIN).predict(lines, 1.0, has_outer=(True, True))

    gram = moments.gram[0] + PLAIN.ridge * np.trace(moments.gram[0]) / 12 * np.eye(12)
    deviation = np.linalg.solve(gram, moments.cross[:, 0].T)
    u, base, _ = describe(lines, 1.0, PLAIN)
    for d in (1, 2):
        linear = lines[1] + d / 3 * (lines[2] - lines[1])
        assert_allclose(mean[d - 1], linear + u @ deviation[:, d - 1], atol=1e-4)
    assert base.shape == lines.shape[1:]


def test_without_data_the_prediction_is_linear_interpolation(rng: np.random.Generator) -> None:
    lines = rng.normal(size=(4, 5, 11)).astype(np.float32)
    filters = Filters(Moments.empty(Config(), 4), Config())

    mean, variance = filters.predict(lines, 2.0, has_outer=(True, True))

    for d in (1, 2, 3):
        assert_allclose(mean[d - 1], lines[1] + d / 4 * (lines[2] - lines[1]), atol=1e-5)
    assert (variance > 0).all()


def test_prediction_beats_linear_interpolation_on_what_it_has_not_seen(
    rng: np.random.Generator,
) -> None:
    seen, unseen = smooth_slices(rng, 6), smooth_slices(rng, 6)
    filters = Filters(moments_of_slices(seen, 3, 1.0, Config()), Config())
    misses = []
    for image in unseen:
        for lines, hidden in hidden_lines(image, 3):
            mean, _ = filters.predict(lines, 1.0, has_outer=(True, True))
            d = np.array([1, 2])[:, None, None] / 3
            linear = lines[1] + d * (lines[2] - lines[1])
            misses.append((np.square(mean - hidden).sum(), np.square(linear - hidden).sum()))

    ours, linear_total = np.sum(misses, axis=0)

    assert ours < 0.5 * linear_total


def test_variance_is_that_of_the_misses(rng: np.random.Generator) -> None:
    seen, unseen = smooth_slices(rng, 12), smooth_slices(rng, 12)
    filters = Filters(moments_of_slices(seen, 3, 1.0, Config()), Config())

    ratios = []
    for image in unseen:
        for lines, hidden in hidden_lines(image, 3):
            mean, variance = filters.predict(lines, 1.0, has_outer=(True, True))
            ratios.append((np.square(hidden - mean) / variance).mean())

    assert np.mean(ratios) == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize("has_outer", [(False, True), (True, False), (False, False)])
def test_an_absent_line_is_not_looked_at(
    has_outer: tuple[bool, bool], rng: np.random.Generator
) -> None:
    slices = smooth_slices(rng)
    filters = Filters(moments_of_slices(slices, 3, 1.0, Config()), Config())
    lines, _ = next(hidden_lines(slices[0], 3, phases=[0]))
    changed = lines.copy()
    for line, present in zip((0, 3), has_outer, strict=True):
        if not present:
            changed[line] = 1e6

    before = filters.predict(lines, 1.0, has_outer=has_outer)
    after = filters.predict(changed, 1.0, has_outer=has_outer)

    assert_array_equal(after[0], before[0])
    assert_array_equal(after[1], before[1])


def test_an_even_number_of_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="columns must be odd and at least 3, got 8"):
        Config(columns=8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": 4}, "columns must be odd"),
        ({"angles": 0}, "angles must be at least 1"),
        ({"ridge": -1.0}, "ridge must be at least 0"),
        ({"strength": (0.2, 0.1)}, "strength must increase"),
    ],
)
def test_settings_that_make_no_filters_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config(**settings)
