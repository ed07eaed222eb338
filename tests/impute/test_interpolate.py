"""Tests for mriimpute.impute.interpolate."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import interpolate

from mriimpute.impute.interpolate import Kind, interpolated
from mriimpute.volume import Volume

KINDS: list[Kind] = ["linear", "pchip", "cubic"]


def stack(rng: np.random.Generator, axis: int, step: int = 3) -> Volume:
    data = rng.normal(size=(7, 8, 9)).astype(np.float32)
    observed = np.zeros(data.shape, bool)
    np.moveaxis(observed, axis, 0)[::step] = True
    return Volume(np.where(observed, data, np.float32(np.nan)), observed, np.eye(4))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_is_interpolated_as_scipy_does_it(
    kind: Kind, axis: int, rng: np.random.Generator
) -> None:
    volume = stack(rng, axis)
    lines = np.moveaxis(volume.data, axis, 0)
    positions = np.arange(0, len(lines), 3)
    inside = np.arange(positions[-1] + 1)
    oracle = {
        "linear": interpolate.interp1d(positions, lines[positions], axis=0),
        "pchip": interpolate.PchipInterpolator(positions, lines[positions], axis=0),
        "cubic": interpolate.CubicSpline(positions, lines[positions], axis=0)
        if len(positions) > 3
        else interpolate.interp1d(positions, lines[positions], axis=0, kind="quadratic"),
    }[kind]

    filled = np.moveaxis(interpolated(volume, kind), axis, 0)

    assert_allclose(filled[inside], oracle(inside), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_observed_voxels_keep_every_bit(kind: Kind, rng: np.random.Generator) -> None:
    data = rng.normal(size=(6, 6, 6)).astype(np.float32)
    observed = rng.random(data.shape) < 0.4

    filled = interpolated(Volume(data, observed, np.eye(4)), kind)

    assert_array_equal(filled[observed], data[observed])
    assert np.isfinite(filled).all()


@pytest.mark.parametrize("kind", KINDS)
def test_unobserved_values_never_reach_the_output(kind: Kind, rng: np.random.Generator) -> None:
    data = rng.normal(size=(6, 6, 6)).astype(np.float32)
    observed = rng.random(data.shape) < 0.4
    gaps = np.where(observed, data, np.float32(np.nan))

    with_values = interpolated(Volume(data, observed, np.eye(4)), kind)
    with_nan = interpolated(Volume(gaps, observed, np.eye(4)), kind)

    assert_array_equal(with_nan, with_values)


def test_a_linear_ramp_with_scattered_holes_is_restored(rng: np.random.Generator) -> None:
    i, j, k = np.indices((8, 8, 8))
    ramp = (i + 2 * j - 3 * k).astype(np.float32)
    observed = rng.random(ramp.shape) < 0.7
    observed[0] = observed[-1] = observed[:, 0] = observed[:, -1] = True

    filled = interpolated(Volume(ramp, observed, np.eye(4)), "linear")

    assert_allclose(filled, ramp, atol=1e-4)


def test_beyond_the_last_slice_the_nearest_voxel_serves(rng: np.random.Generator) -> None:
    volume = stack(rng, 1)

    filled = interpolated(volume, "pchip")

    assert_array_equal(filled[:, 7], filled[:, 6])


def test_one_observed_voxel_fills_the_volume() -> None:
    data = np.full((3, 4, 5), np.nan, np.float32)
    data[1, 1, 1] = 7
    filled = interpolated(Volume(data, np.isfinite(data), np.eye(4)), "cubic")

    assert (filled == 7).all()
