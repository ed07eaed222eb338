"""Tests for mriimpute.geometry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mriimpute.geometry import (
    Stack,
    centred_grid,
    find_stack,
    grids_agree,
    is_invertible,
    obliquity_deg,
    refined,
    resample,
    rotation,
    skew_deg,
    spacing_mm,
    transform,
)

ANGLES = st.tuples(*[st.floats(-180, 180)] * 3)
SPACING = st.tuples(*[st.floats(0.1, 10)] * 3)


def grid(
    angles: tuple[float, float, float] = (10.0, -20.0, 33.0),
    spacing: tuple[float, float, float] = (1.0, 1.2, 2.0),
    shape: tuple[int, int, int] = (6, 7, 8),
) -> np.ndarray:
    return centred_grid(
        shape, spacing=spacing, centre_ras=np.array([3.0, -4.0, 5.0]), axes=rotation(angles)
    )


@given(angles=ANGLES, spacing=SPACING)
def test_the_middle_of_a_centred_grid_is_its_centre_and_its_spacing_is_kept(
    angles: tuple[float, float, float], spacing: tuple[float, float, float]
) -> None:
    affine = grid(angles, spacing)

    np.testing.assert_allclose(transform(affine, np.array([[2.5, 3.0, 3.5]])), [[3, -4, 5]])
    np.testing.assert_allclose(spacing_mm(affine), spacing)
    assert skew_deg(affine) < 1e-5
    assert is_invertible(affine)


@pytest.mark.parametrize(
    ("angles", "point", "expected"),
    [
        ((90.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
        ((0.0, 90.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)),
        ((0.0, 0.0, 90.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
        ((90.0, 0.0, 90.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),  # about R first, then S
    ],
)
def test_rotations_are_right_handed_about_fixed_axes(
    angles: tuple[float, float, float],
    point: tuple[float, float, float],
    expected: tuple[float, float, float],
) -> None:
    np.testing.assert_allclose(rotation(angles) @ point, expected, atol=1e-12)


@given(angles=ANGLES)
def test_rotations_are_proper(angles: tuple[float, float, float]) -> None:
    matrix = rotation(angles)

    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) > 0


@given(angle=st.floats(-44, 44), axis=st.integers(0, 2))
def test_obliquity_is_the_angle_of_a_single_rotation(angle: float, axis: int) -> None:
    angles = [0.0, 0.0, 0.0]
    angles[axis] = angle

    assert abs(obliquity_deg(grid((angles[0], angles[1], angles[2]))) - abs(angle)) < 1e-4


def test_skew_is_the_tilt_of_a_gantry() -> None:
    tilted = np.eye(4)
    tilted[1, 2] = np.tan(np.radians(15))

    assert abs(skew_deg(tilted) - 15) < 1e-9


@pytest.mark.parametrize(
    "affine", [np.zeros((4, 4)), np.diag([1.0, 1, 0, 1]), np.full((4, 4), np.nan)]
)
def test_degenerate_affines_are_not_invertible(affine: np.ndarray) -> None:
    assert not is_invertible(affine)


def test_microscopic_voxels_are_invertible() -> None:
    assert is_invertible(np.diag([1e-4, 1e-4, 1e-4, 1.0]))


def test_parallel_axes_are_not_invertible() -> None:
    affine = np.eye(4)
    affine[:3, 1] = affine[:3, 0]

    assert not is_invertible(affine)


@given(axis=st.integers(0, 2), factor=st.integers(1, 9))
def test_refining_leaves_every_coarse_voxel_in_place(axis: int, factor: int) -> None:
    affine = grid()
    ijk = np.argwhere(np.ones((3, 3, 3))).astype(float)
    step = np.ones(3)
    step[axis] = factor

    fine = transform(refined(affine, axis, factor), ijk * step)

    np.testing.assert_allclose(fine, transform(affine, ijk), atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("positions", [(0, 6), (1, 3, 4), (2, 5, 8)])
def test_slices_along_any_axis_are_found(axis: int, positions: tuple[int, ...]) -> None:
    observed = np.zeros((9, 9, 9), bool)
    np.moveaxis(observed, axis, 0)[list(positions)] = True

    stack = find_stack(observed)

    assert stack == Stack(axis, positions)


def test_holes_inside_slices_do_not_hide_the_stack() -> None:
    observed = np.zeros((5, 5, 9), bool)
    observed[1:3, ::2, ::4] = True

    assert find_stack(observed) == Stack(2, (0, 4, 8))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_scattered_voxels_are_no_stack(share: float, rng: np.random.Generator) -> None:
    assert find_stack(rng.random((9, 9, 9)) < share) is None


def test_a_single_slice_is_no_stack() -> None:
    observed = np.zeros((5, 5, 5), bool)
    observed[:, :, 2] = True

    assert find_stack(observed) is None


def test_gaps_are_the_steps_between_slices() -> None:
    assert Stack(0, (0, 6, 8, 13)).gaps == (6, 2, 5)


def test_grids_agree_up_to_the_tolerance_at_the_farthest_corner() -> None:
    turned = grid((10.0, -20.0, 33.1))  # 0.1 degrees over a corner some 5 mm away: about 0.01 mm

    assert grids_agree(grid(), turned, (6, 7, 8), tolerance_mm=0.1)
    assert not grids_agree(grid(), turned, (6, 7, 8), tolerance_mm=0.001)


@pytest.mark.parametrize("order", [0, 1, 3])
@given(angles=ANGLES, spacing=SPACING)
def test_resampling_onto_the_same_grid_changes_nothing_borders_included(
    order: int, angles: tuple[float, float, float], spacing: tuple[float, float, float]
) -> None:
    data = np.random.default_rng(0).normal(size=(6, 7, 8)).astype(np.float32)
    affine = grid(angles, spacing)

    same = resample(data, affine, to_shape=(6, 7, 8), to_affine=affine, order=order, fill=99.0)

    np.testing.assert_allclose(same, data, atol=2e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("order", [1, 3])
def test_refined_grid_meets_the_voxels_of_the_coarse_one_to_the_last_slice(
    order: int, axis: int, rng: np.random.Generator
) -> None:
    data = rng.normal(size=(6, 7, 8)).astype(np.float32)
    i, j, k = (n if a != axis else 7 * (n - 1) + 1 for a, n in enumerate(data.shape))

    fine = resample(
        data, grid(), to_shape=(i, j, k), to_affine=refined(grid(), axis, 7), order=order
    )

    kept = np.moveaxis(np.moveaxis(fine, axis, 0)[::7], 0, axis)
    np.testing.assert_allclose(kept, data, atol=2e-6)


@pytest.mark.parametrize("order", [1, 3])
def test_a_plane_of_intensities_is_reproduced_at_the_right_millimetres(order: int) -> None:
    source = grid((0.0, 0.0, 0.0), shape=(16, 16, 16))
    target = grid((15.0, 25.0, 35.0), (0.3, 0.3, 0.3), shape=(4, 4, 4))
    points = np.stack(np.meshgrid(*[np.arange(16.0)] * 3, indexing="ij"), -1)
    data = (transform(source, points) @ [1.0, -2.0, 0.5] + 3).astype(np.float32)

    moved = resample(data, source, to_shape=(4, 4, 4), to_affine=target, order=order)

    points = np.stack(np.meshgrid(*[np.arange(4.0)] * 3, indexing="ij"), -1)
    expected = transform(target, points) @ [1.0, -2.0, 0.5] + 3
    np.testing.assert_allclose(moved, expected, atol=2e-3 if order == 3 else 1e-4)


def test_outside_of_the_field_of_view_is_the_fill_value() -> None:
    data = np.ones((4, 4, 4), np.float32)
    shifted = np.eye(4)
    shifted[0, 3] = 2.0

    moved = resample(data, np.eye(4), to_shape=(4, 4, 4), to_affine=shifted, fill=-7.0)

    np.testing.assert_allclose(moved[:2], 1.0, atol=1e-6)
    assert (moved[2:] == -7.0).all()
