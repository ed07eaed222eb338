"""Tests for mriimpute.impute.variogram."""

import numpy as np
import pytest

from mriimpute.impute.variogram import spread_by_distance
from mriimpute.volume import Volume


def test_spread_on_a_ramp_is_its_slope_times_the_distance() -> None:
    ramp = 100 + 5 * np.indices((12, 12, 12))[0].astype(np.float32)
    observed = np.ones(ramp.shape, bool)
    observed[4:7] = False
    volume = Volume(ramp, observed, np.diag([2.0, 1000.0, 1000.0, 1.0]))

    spread = spread_by_distance(volume, ~observed)

    assert spread[4, 0, 0] == pytest.approx(5.0, rel=1e-3)
    assert spread[5, 0, 0] == pytest.approx(10.0, rel=1e-3)
    assert (spread[observed] == 0).all()


def test_spread_scales_with_the_intensities(rng: np.random.Generator) -> None:
    data = rng.random((8, 8, 8)).astype(np.float32) + 1
    observed = rng.random(data.shape) < 0.5
    affine = np.eye(4)

    once = spread_by_distance(Volume(data, observed, affine), ~observed)
    moved = spread_by_distance(Volume(data * 8 + 64, observed, affine), ~observed)

    np.testing.assert_allclose(moved, 8 * once, rtol=1e-3)
