"""Tests for mriimpute.simulation.acquisition."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mriimpute.errors import ConfigError
from mriimpute.geometry import rotation, transform
from mriimpute.seeds import numpy_stream
from mriimpute.simulation.acquisition import (
    PLANES,
    Box,
    Grid,
    SimulationConfig,
    acquired_near,
    draw,
    kept,
    measure,
    on_grid,
    profile,
    skipped_affine,
)

BOX = Box(np.array([3.0, -17.0, 5.0]), np.eye(3))
HERE = np.eye(4)
UP = np.array([0.0, 0.0, 1.0])

degrees = st.floats(-180, 180)


def middle(grid: Grid) -> np.ndarray:
    return transform(grid.affine, (np.array(grid.shape) - 1) / 2)


@given(angles=st.tuples(degrees, degrees, degrees))
def test_turning_keeps_the_centre_and_the_voxel(angles: tuple[float, float, float]) -> None:
    config = SimulationConfig()

    grid = on_grid(config, BOX, side_mm=2.0, angles_deg=angles)

    np.testing.assert_allclose(middle(grid), BOX.centre_ras, atol=1e-9)
    axes = grid.affine[:3, :3] / 2.0
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)
    assert grid.shape == (96, 112, 88)


@given(
    axis=st.sampled_from(sorted(PLANES.values())),
    phase=st.integers(0, 3),
    angles=st.tuples(degrees, degrees, degrees),
)
def test_each_kept_slice_lies_where_its_slice_of_the_truth_lies(
    axis: int, phase: int, angles: tuple[float, float, float]
) -> None:
    grid = on_grid(
        SimulationConfig(box_mm=(10.0, 11.0, 12.0)), BOX, side_mm=1.0, angles_deg=angles
    )
    places = np.moveaxis(np.indices(grid.shape, dtype=np.float64), 0, -1)
    truth = transform(grid.affine, places)[kept(grid, axis, phase, 4)]

    affine = skipped_affine(grid, axis, phase, 4)

    sparse = np.moveaxis(np.indices(truth.shape[:3], dtype=np.float64), 0, -1)
    np.testing.assert_allclose(transform(affine, sparse), truth, atol=1e-9)


def test_voxels_of_the_source_are_copied_not_interpolated(rng: np.random.Generator) -> None:
    data = rng.normal(size=(8, 9, 10)).astype(np.float32)
    shifted = np.eye(4)
    shifted[:3, 3] = [1.0, 2.0, 3.0]

    seen = measure(data, HERE, Grid((4, 4, 4), shifted), to_source=HERE, normal=UP)

    np.testing.assert_array_equal(seen, data[1:5, 2:6, 3:7])


def test_rounding_of_a_float32_header_does_not_make_voxels_interpolated(
    rng: np.random.Generator,
) -> None:
    data = rng.normal(size=(8, 9, 10)).astype(np.float32)
    turn = np.eye(4)
    turn[:3, :3] = rotation((3.0, -4.0, 5.0))
    turn[:3, 3] = [-73.3, 12.1, 55.7]
    header = turn.astype(np.float32).astype(np.float64)
    header[:3, :3] *= 1 + 2e-6
    own = turn @ np.array([[1, 0, 0, 1], [0, 1, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1.0]])

    seen = measure(data, header, Grid((4, 4, 4), own), to_source=HERE, normal=UP)

    np.testing.assert_array_equal(seen, data[1:5, 2:6, 3:7])


def test_one_interpolation_equals_the_source_at_moved_places(rng: np.random.Generator) -> None:
    # A linear image is its own spline, away from the rim.
    i, j, k = np.indices((20, 20, 20), dtype=np.float64)
    data = (100 + 2 * i - j + 3 * k).astype(np.float32)
    motion = np.eye(4)
    motion[:3] += rng.normal(scale=0.03, size=(3, 4))
    grid = Grid((6, 6, 6), np.array([[1.0, 0, 0, 7], [0, 1, 0, 7], [0, 0, 1, 7], [0, 0, 0, 1]]))

    seen = measure(data, HERE, grid, to_source=motion, normal=UP)

    places = transform(motion @ grid.affine, np.moveaxis(np.indices((6, 6, 6)) * 1.0, 0, -1))
    expected = 100 + places @ [2.0, -1.0, 3.0]
    np.testing.assert_allclose(seen, expected, atol=1e-3)


def test_a_spline_that_overshoots_never_leaves_the_range_of_the_source() -> None:
    data = np.zeros((12, 12, 12), np.float32)
    data[:, :, 6:] = 100
    finer = np.diag([1.0, 1.0, 0.3, 1.0])

    seen = measure(data, HERE, Grid((12, 12, 36), finer), to_source=HERE, normal=UP)

    assert seen.min() == 0
    assert seen.max() == 100


def test_outside_of_the_source_is_air() -> None:
    data = np.full((4, 4, 4), 7, np.float32)
    data[0, 0, 0] = -1
    wider = np.eye(4)
    wider[:3, 3] = -3.3

    seen = measure(data, HERE, Grid((3, 3, 3), wider), to_source=HERE, normal=UP)

    assert (seen == 0).all()


@pytest.mark.parametrize("thickness_mm", [0.5, 3.0])
def test_a_slice_profile_leaves_a_ramp_as_it_is(thickness_mm: float) -> None:
    data = np.broadcast_to(np.arange(32, dtype=np.float32), (4, 4, 32)).copy()
    inner = np.eye(4)
    inner[2, 3] = 12.4

    seen = measure(
        data, HERE, Grid((4, 4, 8), inner), to_source=HERE, normal=UP, thickness_mm=thickness_mm
    )

    np.testing.assert_allclose(seen[0, 0], 12.4 + np.arange(8), atol=1e-4)


@pytest.mark.parametrize("thickness_mm", [2.0, 4.0])
def test_a_thin_sheet_is_seen_as_thick_as_the_profile(thickness_mm: float) -> None:
    fine = np.diag([1.0, 1.0, 0.1, 1.0])
    data = np.zeros((4, 4, 201), np.float32)
    # As wide as the samples of the profile are apart, so that they join without a gap.
    sheet = thickness_mm / 4
    data[:, :, np.abs(np.arange(201) * 0.1 - 10) <= sheet / 2] = 1

    seen = measure(
        data,
        fine,
        Grid((1, 1, 201), fine),
        to_source=HERE,
        normal=UP,
        thickness_mm=thickness_mm,
        order=1,
    )[0, 0]

    above = np.flatnonzero(seen > seen.max() / 2)
    width = (above[-1] - above[0] + 1) * 0.1
    assert width == pytest.approx(thickness_mm, abs=sheet)


def test_profile_has_the_full_width_at_half_maximum_that_was_asked_for() -> None:
    offsets, weights = profile(6.0)

    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights[np.abs(offsets) == 3.0], weights.max() / 2)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_unturned_slices_are_observed_exactly_where_they_are(axis: int) -> None:
    grid = on_grid(SimulationConfig(box_mm=(10.0, 11.0, 12.0)), BOX, side_mm=1.0)
    expected = np.zeros(grid.shape, bool)
    expected[kept(grid, axis, 1, 3)] = True

    observed = acquired_near(grid, grid, axis, 1, 3)

    np.testing.assert_array_equal(observed, expected)


@given(angle=st.floats(-30, 30), phase=st.integers(0, 5))
def test_turned_slices_pass_through_one_voxel_in_so_many(angle: float, phase: int) -> None:
    config = SimulationConfig(box_mm=(24.0, 24.0, 24.0))
    common = on_grid(config, BOX, side_mm=1.0)
    turned = on_grid(config, BOX, side_mm=1.0, angles_deg=(angle, -angle, angle))

    observed = acquired_near(common, turned, 2, phase, 6)

    inner = observed[6:-6, 6:-6, 6:-6]  # the corners of the unturned box lie outside of the other
    assert inner.mean() == pytest.approx(1 / 6, abs=0.04)


def test_draws_depend_on_seed_and_name_and_stay_in_their_bounds() -> None:
    config = SimulationConfig(angle_deg=10.0, keep_every=4)

    drawn = [draw(config, numpy_stream(0, "simulate", f"sub-{n}")) for n in range(200)]

    angles = np.array([acquisition.angles_deg for acquisition in drawn])
    assert np.abs(angles).max() <= 10
    assert np.abs(angles).max() > 9
    assert {acquisition.phase for acquisition in drawn} == {0, 1, 2, 3}
    assert drawn[7] == draw(config, numpy_stream(0, "simulate", "sub-7"))


def test_a_random_plane_is_each_scan_s_own_and_every_plane_is_as_likely() -> None:
    config = SimulationConfig(plane="random")
    names = [f"sub-{n}" for n in range(300)]

    planes = [draw(config, numpy_stream(0, "simulate", name)).plane for name in names]

    again = [draw(config, numpy_stream(0, "simulate", name)).plane for name in reversed(names)]
    other = [draw(config, numpy_stream(1, "simulate", name)).plane for name in names]
    assert planes == again[::-1]
    assert planes != other
    assert {plane: planes.count(plane) for plane in PLANES} == pytest.approx(
        dict.fromkeys(PLANES, 100), abs=25
    )


@given(seed=st.integers(0, 2**32))
def test_a_scan_is_turned_alike_whether_its_plane_is_drawn_or_given(seed: int) -> None:
    by_chance = draw(SimulationConfig(plane="random"), np.random.default_rng(seed))

    given_it = draw(SimulationConfig(plane=by_chance.plane), np.random.default_rng(seed))

    assert by_chance == given_it


def test_draws_of_a_given_plane_are_those_of_every_version_before() -> None:
    acquisition = draw(SimulationConfig(), np.random.default_rng(0))

    rng = np.random.default_rng(0)
    assert acquisition.angles_deg == tuple(rng.uniform(-15, 15, 3).tolist())
    assert (acquisition.phase, acquisition.plane) == (rng.integers(6), "axial")


def test_a_random_plane_needs_slices_enough_in_every_plane() -> None:
    config = SimulationConfig(keep_every=3, box_mm=(12.0, 5.0, 12.0))

    with pytest.raises(ConfigError, match="one in 3 of 5 slices leaves fewer than two"):
        replace(config, plane="random")


@pytest.mark.parametrize(
    "setting",
    [
        {"spacing": 0.0},
        {"keep_every": 1},
        {"angle_deg": -1.0},
        {"thickness_mm": -0.1},
        {"box_mm": (0.0, 1.0, 1.0)},
        {"order": 6},
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="a simulation needs"):
        replace(SimulationConfig(), **setting)
