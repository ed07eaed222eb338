"""Tests for mriimpute.methods.patches.activity."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mriimpute.methods.patches.activity import activity, fitted, variance_of
from mriimpute.methods.self_calibration import Predictions


def test_planted_coefficients_are_found(rng: np.random.Generator) -> None:
    planted = np.array([[1e-3, 0.0, 0.2, 0.7], [2e-3, 1.5, 0.1, 0.0]])
    context = rng.normal(size=(6, 40, 50)).astype(np.float32)
    d, g = activity(context[:, :-1], context[:, 1:], -1)
    own = rng.uniform(0.1, 0.3, size=(*d.shape, 2)).astype(np.float32)
    variance = variance_of(planted, own, d, g)
    error = np.moveaxis(np.sqrt(variance) * rng.normal(size=variance.shape), -1, 1)
    nothing, head = np.zeros_like(error, np.float32), np.ones(error.shape, bool)
    hidden = Predictions(
        error.astype(np.float32), nothing, np.moveaxis(own, -1, 1), nothing, nothing, head, head
    )

    found = fitted([hidden], [(d, g)], np.ones(2, np.float32))

    assert (found >= 0).all()
    ratio = variance_of(found, own, d, g) / variance
    assert_allclose(ratio.mean(axis=(0, 1, 2)), 1, atol=0.1)
    assert ratio.std() < 0.15
    assert found[:, 2] == pytest.approx(planted[:, 2], abs=0.05)


def test_activity_is_zero_on_flat_lines_and_sees_steps_both_ways() -> None:
    before, after = np.zeros((2, 9), np.float32), np.zeros((2, 9), np.float32)
    after[1] = 2.0
    sloped = np.tile(np.arange(9, dtype=np.float32), (2, 1))

    d, g = activity(before, after, -1)
    _, along = activity(sloped, sloped, -1)
    _, across = activity(sloped, sloped, 0)

    assert_allclose(d, [[0] * 9, [4] * 9])
    assert (g == 0).all()
    assert_allclose(along, 1)
    assert_allclose(across, 0)
