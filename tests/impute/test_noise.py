"""Tests for mriimpute.impute.noise."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mriimpute.geometry import Stack
from mriimpute.impute.noise import Texture, unit_noise

STACK = Stack(2, tuple(range(0, 40, 3)))
WITHIN = np.array([[1.0, 0.7], [0.7, 1.0]])


def noise(along: float, draw: int = 1) -> np.ndarray:
    return unit_noise(
        (48, 48, 40), STACK, {3: Texture(along, WITHIN)}, seed=0, case="a", draw=draw
    )


@pytest.mark.parametrize("along", [0.0, 0.3, 0.8])
def test_noise_has_unit_variance_and_the_asked_correlations(along: float) -> None:
    field = noise(along)

    first, second = field[..., 1:39:3], field[..., 2:39:3]
    beside = np.corrcoef(field[1:].ravel(), field[:-1].ravel())[0, 1]
    assert field.var() == pytest.approx(1.0, abs=0.05)
    assert beside == pytest.approx(along, abs=0.03)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] == pytest.approx(0.7, abs=0.03)


def test_gaps_are_independent() -> None:
    field = noise(0.3)

    before, after = field[..., 2:37:3], field[..., 4:39:3]
    assert abs(np.corrcoef(before.ravel(), after.ravel())[0, 1]) < 0.03


def test_a_draw_depends_on_its_number_alone() -> None:
    assert_array_equal(noise(0.5, draw=7), noise(0.5, draw=7))
    assert np.abs(noise(0.5, draw=7) - noise(0.5, draw=8)).mean() > 0.5
