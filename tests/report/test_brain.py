"""Tests for mriimpute.report._brain."""

import numpy as np
import pytest

from mriimpute.report._brain import Brain

MM = (2.0, 2.0, 3.0)


def scan(*, fat: float, fluid: float, stripped: bool = False) -> np.ndarray:
    """White matter 100, grey 80 around a ventricle; bone, and fat outside of it."""
    axes = np.meshgrid(*(np.linspace(-1.2, 1.2, n) for n in (60, 70, 40)), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    layers = [radius < 0.25, radius < 0.6, radius < 0.8, radius < 0.88, radius < 1.0]
    values = [fluid, 100.0, 80.0, *([0.0, 0.0] if stripped else [4.0, fat])]
    noise = np.random.default_rng(0).normal(0, 1, radius.shape)
    image = np.select(layers, values, 0.0)
    return (image + noise * (image > 0)).astype(np.float32)


@pytest.mark.parametrize(
    ("image", "brightest"),
    [
        (scan(fat=320, fluid=25), 100.0),  # as in T1w
        (scan(fat=60, fluid=260), 260.0),  # as in T2w
        (scan(fat=30, fluid=10), 100.0),  # as in FLAIR
        (scan(fat=0, fluid=25, stripped=True), 100.0),
    ],
)
def test_white_is_the_brightest_tissue_of_the_brain(image: np.ndarray, brightest: float) -> None:
    low, high = Brain(image, MM).window

    assert low == pytest.approx(0, abs=2)
    assert high == pytest.approx(brightest, rel=0.05)


@pytest.mark.parametrize(("a", "b"), [(0.5, -40.0), (2e-12, 0.0)])
def test_the_window_follows_scale_and_offset(a: float, b: float) -> None:
    image = scan(fat=320, fluid=25)

    low, high = Brain(image, MM).window
    changed = Brain(np.float32(a) * image + np.float32(b), MM).window

    assert changed == pytest.approx((a * low + b, a * high + b), rel=1e-4, abs=1e-5 * a)


@pytest.mark.parametrize("shape", [(1, 9, 9), (9, 9, 1), (30, 30, 30)])
def test_whatever_is_no_head_has_a_window(shape: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    for image in (noise, np.full(shape, 7, np.float32), np.where(noise > 2, np.nan, noise)):
        low, high = Brain(image.astype(np.float32), MM).window

        assert low < high < 8


def test_a_percentile_is_of_the_brain_alone() -> None:
    image = scan(fat=320, fluid=25)
    brain = Brain(image, MM)

    assert brain.percentile(image, 99.9) < 110
    assert brain.percentile(image, 50.0, image < 50) == pytest.approx(25, abs=3)
    assert brain.percentile(image, 50.0, image > 1e6) == 0.0
