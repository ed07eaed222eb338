"""Tests for mriimpute.methods.interpolation."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import interpolate

from mriimpute.interpolation import Kind, interpolated
from mriimpute.volume import Volume

KINDS: list[Kind] = ["nearest", "linear", "pchip", "makima", "cubic", "bspline"]
CURVES: list[Kind] = [kind for kind in KINDS if kind != "nearest"]

EVEN = (0, 3, 6, 9)
UNEVEN = (0, 2, 3, 7, 11)


def stack(rng: np.random.Generator, axis: int, positions: tuple[int, ...] = (0, 3, 6)) -> Volume:
    shape = [5, 6, 7]
    shape[axis] = positions[-1] + 2
    data = rng.normal(size=shape).astype(np.float32)
    observed = np.zeros(data.shape, bool)
    np.moveaxis(observed, axis, 0)[list(positions)] = True
    return Volume(np.where(observed, data, np.float32(np.nan)), observed, np.eye(4))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("positions", [(0, 3, 6), EVEN, UNEVEN])
@pytest.mark.parametrize("kind", CURVES)
def test_a_stack_is_interpolated_as_scipy_does_it(
    kind: Kind, positions: tuple[int, ...], axis: int, rng: np.random.Generator
) -> None:
    volume = stack(rng, axis, positions)
    lines = np.moveaxis(volume.data, axis, 0)
    at, values = np.array(positions), lines[list(positions)]
    inside = np.arange(positions[-1] + 1)
    oracle = {
        "linear": lambda: interpolate.interp1d(at, values, axis=0),
        "pchip": lambda: interpolate.PchipInterpolator(at, values, axis=0),
        "makima": lambda: interpolate.Akima1DInterpolator(at, values, axis=0, method="makima"),
        "cubic": lambda: (
            interpolate.CubicSpline(at, values, axis=0)
            if len(at) > 3
            else interpolate.interp1d(at, values, axis=0, kind="quadratic")
        ),
        "bspline": lambda: interpolate.make_interp_spline(
            at, values, axis=0, bc_type=([(1, 0 * values[0])], [(1, 0 * values[0])])
        ),
    }[kind]()

    filled = np.moveaxis(interpolated(volume, kind), axis, 0)

    assert_allclose(filled[inside], oracle(inside), atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_bspline_is_what_simpleitk_resamples_an_even_stack_to(
    axis: int, rng: np.random.Generator
) -> None:
    import SimpleITK as sitk  # noqa: N813 - its documented alias

    volume = stack(rng, axis, EVEN)
    slices = np.moveaxis(volume.data, axis, 0)[list(EVEN)]
    image = sitk.GetImageFromArray(slices.astype(np.float64))
    image.SetSpacing((1.0, 1.0, 3.0))
    grid = (*image.GetSize()[:2], EVEN[-1] + 1)
    resampled = sitk.Resample(
        image, grid, sitk.Transform(), sitk.sitkBSpline, (0.0,) * 3, (1.0,) * 3
    )

    filled = np.moveaxis(interpolated(volume, "bspline"), axis, 0)

    assert_allclose(filled[: grid[2]], sitk.GetArrayFromImage(resampled), atol=1e-5)


@pytest.mark.parametrize("positions", [EVEN, UNEVEN])
def test_nearest_takes_the_slice_with_the_fewest_steps(
    positions: tuple[int, ...], rng: np.random.Generator
) -> None:
    volume = stack(rng, 1, positions)

    filled = interpolated(volume, "nearest")

    steps = np.abs(np.arange(volume.shape[1])[:, None] - np.array(positions))
    for place, row in enumerate(steps):
        candidates = [positions[n] for n in np.flatnonzero(row == row.min())]
        assert any((filled[:, place] == volume.data[:, c]).all() for c in candidates)


def test_nearest_means_mm_not_voxels() -> None:
    data = np.full((3, 3, 1), np.nan, np.float32)
    data[0, 1, 0], data[1, 0, 0] = 1, 2
    volume = Volume(data, np.isfinite(data), np.diag([1.0, 5.0, 1.0, 1.0]))

    assert interpolated(volume, "nearest")[1, 1, 0] == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("holes", [False, True])
def test_gain_and_offset_of_the_scan_pass_through(
    holes: bool, kind: Kind, rng: np.random.Generator
) -> None:
    volume = stack(rng, 2, UNEVEN)
    observed = volume.observed & (rng.random(volume.shape) < (0.8 if holes else 2.0))
    data = np.where(observed, volume.data, np.float32(np.nan))

    plain = interpolated(Volume(data, observed, np.eye(4)), kind)
    other = interpolated(Volume(data * 1000 - np.float32(70), observed, np.eye(4)), kind)

    assert_allclose(other, 1000 * plain - 70, atol=0.02, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_two_slices_make_a_ramp_or_a_step(kind: Kind, rng: np.random.Generator) -> None:
    volume = stack(rng, 0, (1, 4))
    first, last = volume.data[1], volume.data[4]

    third = interpolated(volume, kind)[2]

    assert_allclose(third, first if kind == "nearest" else (2 * first + last) / 3, atol=1e-6)


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
