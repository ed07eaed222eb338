"""Tests for mriimpute.cohort.foreground."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mriimpute.cohort.foreground import depths_mm, foreground_level
from mriimpute.cohort.normalisation import normalisation
from mriimpute.volume import Volume


def test_level_lies_between_air_and_dark_tissue(rng: np.random.Generator) -> None:
    air, dark, bright = (rng.normal(m, 0.02, 1000) for m in (0.03, 0.35, 0.8))

    level = foreground_level(np.concatenate([air, dark, bright]).astype(np.float32))

    assert np.quantile(air, 0.99) < level < dark.min()


def test_where_all_is_alike_all_is_head() -> None:
    assert foreground_level(np.full(10, 0.4, np.float32)) < 0.4


@settings(max_examples=50, deadline=None)
@given(
    levels=st.integers(2, 40),
    seed=st.integers(0, 99),
    scale=st.floats(1e-3, 1e4),
    offset=st.floats(-5, 5),
)
def test_units_change_no_level_of_a_scan_with_few_intensities(
    levels: int, seed: int, scale: float, offset: float
) -> None:
    few = np.random.default_rng(seed).integers(0, levels, (6, 5, 4)).astype(np.float32)

    def level(data: np.ndarray) -> float:
        norm = normalisation(Volume(data, np.ones(data.shape, bool), np.eye(4)))
        return foreground_level(norm.apply(data).ravel())

    assert level(few * scale + offset * scale) == level(few)


def test_depth_is_the_distance_to_the_surface_and_holes_count_as_head() -> None:
    image = np.zeros((9, 12), np.float32)
    image[2:7, 1:] = 1  # up to the edge of the slice
    image[4, 6] = 0

    depth = depths_mm(image, 0.5, (2.0, 0.5))

    assert (depth[[0, 1, 7, 8]] == 0).all()
    assert (depth[2:7, 0] == 0).all()
    assert (depth[2:7, 1:] > 0).all()
    assert depth[4, 6] == min(3 * 2.0, 6 * 0.5)
    assert depth[4, 11] == 0.5
