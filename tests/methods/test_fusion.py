"""Tests for mriimpute.methods.fusion."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mriimpute.methods.fusion import Fused, correlation, fused


def errors(rho: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns errors with variances 4 and 1 and this correlation, at two distances."""
    a, other = rng.normal(size=(2, 2, 300, 300)).astype(np.float32)
    b = rho * a + np.sqrt(1 - rho**2) * other
    return 2 * a, b.astype(np.float32)


def fuse(a: np.ndarray, b: np.ndarray) -> Fused:
    return fused(a, np.full_like(a, 4.0), b, np.full_like(b, 1.0), distances=0)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_correlation_and_variance_are_those_of_the_errors(
    rho: float, rng: np.random.Generator
) -> None:
    a, b = errors(rho, rng)

    mean, alone, shared, moments = fuse(a, b)

    found = correlation(moments)
    assert_allclose(found, rho, atol=0.02)
    variance = alone + found[:, None, None] * shared
    assert_allclose(variance.mean(axis=(1, 2)), mean.var(axis=(1, 2)), rtol=0.02)


def test_no_other_weights_are_better_where_errors_are_independent(
    rng: np.random.Generator,
) -> None:
    a, b = errors(0.0, rng)

    ours = fuse(a, b)[0].var()

    assert all(ours < (w * a + (1 - w) * b).var() for w in (0.0, 0.1, 0.3, 0.5, 1.0))


def test_planes_may_change_places(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, 5, 3, 4)).astype(np.float32)
    va, vb = rng.uniform(0.1, 2, (2, 5, 3, 4)).astype(np.float32)

    first, second = fused(a, va, b, vb, distances=1), fused(b, vb, a, va, distances=1)

    for ours, theirs in zip(first[:2], second[:2], strict=True):  # means, and their variances
        assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    assert first[3].shape == (3, 3)
    assert_array_equal(first[3], second[3])


def test_planes_that_agree_by_chance_or_differ_too_much_keep_the_correlation_in_its_range() -> (
    None
):
    moments = np.array([[0.0, 9.0, 0.0], [2.0, 2.0, 0.0], [1.0, 2.0, 0.0]])

    assert correlation(moments).tolist() == [1.0, 0.0, 0.0]
