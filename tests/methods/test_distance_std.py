"""Tests for mriimpute.methods.distance_std."""

import numpy as np
import pytest

from mriimpute.errors import VolumeError
from mriimpute.methods.distance_std import std_by_distance
from mriimpute.volume import Volume


def test_spread_on_a_ramp_is_its_slope_times_the_distance() -> None:
    ramp = 100 + 5 * np.indices((12, 12, 12))[0].astype(np.float32)
    observed = np.ones(ramp.shape, bool)
    observed[4:7] = False
    volume = Volume(ramp, observed, np.diag([2.0, 1000.0, 1000.0, 1.0]))

    spread = std_by_distance(volume, ~observed)

    assert spread[4, 0, 0] == pytest.approx(5.0, rel=1e-3)
    assert spread[5, 0, 0] == pytest.approx(10.0, rel=1e-3)
    assert (spread[observed] == 0).all()


def test_spread_scales_with_the_intensities(rng: np.random.Generator) -> None:
    data = rng.random((8, 8, 8)).astype(np.float32) + 1
    observed = rng.random(data.shape) < 0.5
    affine = np.eye(4)

    once = std_by_distance(Volume(data, observed, affine), ~observed)
    moved = std_by_distance(Volume(data * 8 + 64, observed, affine), ~observed)

    np.testing.assert_allclose(moved, 8 * once, rtol=1e-3)


def test_spread_of_lonely_voxels_is_that_of_all_values() -> None:
    data = np.zeros((9, 9, 9), np.float32)
    observed = np.zeros(data.shape, bool)
    for place, value in (((0, 0, 0), 3.0), ((2, 3, 4), 5.0), ((8, 7, 6), 10.0)):
        observed[place], data[place] = True, value

    spread = std_by_distance(Volume(data, observed, np.eye(4)), ~observed)

    assert spread[~observed] == pytest.approx(np.sqrt(2 * np.var([3.0, 5.0, 10.0])), rel=1e-5)


def test_one_voxel_says_nothing_about_a_spread() -> None:
    observed = np.zeros((4, 4, 4), bool)
    observed[1, 2, 3] = True

    with pytest.raises(VolumeError, match="a single voxel is observed"):
        std_by_distance(Volume(np.ones((4, 4, 4), np.float32), observed, np.eye(4)), ~observed)
