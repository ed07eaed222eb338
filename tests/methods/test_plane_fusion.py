"""Tests for mriimpute.methods.plane_fusion."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from mriimpute.methods.fusion import Fused, correlation
from mriimpute.methods.plane_fusion import combined


def conditional_means(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Returns what each plane knows of x, and x; linear interpolation says 0."""
    own, shared, other, rest = rng.normal(size=(4, 3, 100, 100)).astype(np.float32)
    a, b = 0.3 * own + shared, 0.4 * other + shared
    return a, b, 0.3 * own + shared + 0.4 * other + rest


def combine(a: np.ndarray, b: np.ndarray, linear: np.ndarray | None = None) -> Fused:
    linear = np.zeros_like(a) if linear is None else linear
    a, b, linear = (torch.from_numpy(np.ascontiguousarray(x)) for x in (a, b, linear))
    return combined(
        a,
        torch.full_like(a, 1.16),
        b,
        torch.full_like(b, 1.09),
        linear,
        counted=torch.ones_like(a, dtype=torch.bool),
        distances=0,
    )


def test_conditional_means_are_combined_as_least_squares_on_the_truth_would(
    rng: np.random.Generator,
) -> None:
    a, b, x = conditional_means(rng)

    ours = combine(a, b)[0].numpy()

    for here in range(3):
        features = np.stack([a[here].ravel(), b[here].ravel()], axis=1)
        best = features @ np.linalg.lstsq(features, x[here].ravel())[0]
        assert_allclose(ours[here].ravel(), best, atol=0.12)
    halves = 0.5 * (a + b)
    assert np.square(ours - x).mean() < np.square(halves - x).mean()


def test_variance_of_a_combination_is_about_that_of_its_errors(rng: np.random.Generator) -> None:
    a, b, x = conditional_means(rng)

    mean, alone, shared, moments = combine(a, b)

    rho = torch.from_numpy(correlation(moments))
    variance = alone + rho[:, None, None] * shared
    missed = np.square(mean.numpy() - x).mean()
    assert float(variance.mean()) == pytest.approx(float(missed), rel=0.15)


def test_planes_that_say_the_same_are_averaged(rng: np.random.Generator) -> None:
    a, _, _ = conditional_means(rng)

    assert_allclose(combine(a, a)[0], a, rtol=1e-5)
    assert_allclose(combine(a, a, linear=a)[0], a, rtol=1e-5)


def test_the_sum_of_the_weights_is_bounded(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, 2, 50, 50)).astype(np.float32)  # nothing in common

    assert combine(a, b)[0].abs().max() <= 0.651 * (np.abs(a) + np.abs(b)).max()
