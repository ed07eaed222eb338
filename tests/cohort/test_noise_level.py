"""Tests for mriimpute.cohort.noise_level."""

import numpy as np
import pytest
from scipy import ndimage

from mriimpute.cohort import noise_level
from mriimpute.cohort.noise_level import noise_of_slices
from mriimpute.cohort.sparse import SparseScan


def head(rng: np.random.Generator, noise: float) -> np.ndarray:
    """Smooth tissue with sharp borders in masked air, and noise in the tissue alone."""
    radius = np.hypot(*np.meshgrid(*2 * [np.linspace(-1, 1, 90)], indexing="ij"))
    tissue = 0.5 + 0.2 * (radius < 0.6) + 0.1 * (radius < 0.3)
    smooth = ndimage.gaussian_filter(rng.normal(size=(5, 90, 90)), (0, 4, 4))
    return (radius < 0.9) * (tissue + smooth + noise * rng.normal(size=smooth.shape))


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.1])
def test_planted_noise_is_found_in_spite_of_edges(rng: np.random.Generator, noise: float) -> None:
    assert noise_of_slices(head(rng, noise), 0.2) == pytest.approx(noise, rel=0.25)


def test_ramps_are_no_noise_and_holes_do_not_count(rng: np.random.Generator) -> None:
    ramp = np.add.outer(np.arange(20.0), 3 * np.arange(30.0))[None]
    noisy = rng.normal(size=(1, 90, 90))
    holed = noisy.copy()
    holed[0, 20:25, 30] = np.nan

    assert noise_of_slices(ramp, -1.0) == pytest.approx(0, abs=1e-5)
    assert noise_of_slices(holed, -9.0) == pytest.approx(noise_of_slices(noisy, -9.0), rel=0.02)
    assert noise_of_slices(np.zeros((2, 8, 8)), 0.5) == 0


def test_noise_of_a_cohort_is_that_of_its_median_scan(rng: np.random.Generator) -> None:
    def scan(noise: float) -> SparseScan:
        slices = np.moveaxis(1 + noise * rng.normal(size=(4, 50, 50)), 0, 1)
        return SparseScan("a", slices.astype(np.float16), np.arange(0, 12, 3), 1, 12, 0.2)

    assert noise_level([scan(0.02), scan(0.9), scan(0.05)]) == pytest.approx(0.05, rel=0.05)
