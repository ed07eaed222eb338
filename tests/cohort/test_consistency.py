"""Tests for mriimpute.cohort.consistency."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from scipy import ndimage

from mriimpute.cohort.consistency import Consistency, _alternating, consistency
from mriimpute.volume import Volume

SHAPE = (48, 56, 9)
"""Pixels of 2 mm, slices 6 mm apart."""


def head(seed: int = 0) -> NDArray[np.float32]:
    """Slices of an egg with smooth texture, in air with some noise."""
    rng = np.random.default_rng(seed)
    fine = ndimage.gaussian_filter(rng.normal(size=(48, 56, 27)), (1.2, 1.2, 3.0))[:, :, ::3]
    centre = (np.array(SHAPE) - 1) / 2
    radius = np.linalg.norm((np.indices(SHAPE).T - centre) / (0.42 * np.array([*SHAPE[:2], 14])),
                            axis=-1).T  # fmt: skip
    tissue = np.where(radius < 1, 1.0 + 0.5 * fine / fine.std() * (radius < 0.9), 0.0)
    return (tissue + 0.02 * rng.normal(size=SHAPE)).astype(np.float32)


def stack(slices: NDArray[np.float32], factor: int = 3, mm: float = 2.0) -> Volume:
    shape = (*slices.shape[:2], factor * (slices.shape[2] - 1) + 1)
    data, observed = np.full(shape, np.nan, np.float32), np.zeros(shape, bool)
    data[:, :, ::factor], observed[:, :, ::factor] = slices, np.isfinite(slices)
    return Volume(data, observed, np.diag([mm, mm, mm, 1.0]))


def measured(slices: NDArray[np.float32]) -> Consistency:
    found = consistency(stack(slices))
    assert found is not None
    return found


def shifted(pixels: int, start: int = 1, step: int = 2) -> NDArray[np.float32]:
    slices = head()
    slices[:, :, start::step] = np.roll(slices[:, :, start::step], pixels, axis=0)
    return slices


def numbers(found: Consistency) -> NDArray[np.float64]:
    return np.hstack(list(dataclasses.asdict(found).values())).astype(np.float64)


def test_slices_that_fit_are_not_displaced() -> None:
    found = measured(head())

    assert found.slice_shift_mm < 0.5
    assert found.brightness_step < 0.05
    assert found.neighbour_correlation > 0.5
    assert 0 < found.slice_shift_error_mm < 0.5
    assert 0 < found.brightness_step_error < 0.05


@pytest.mark.parametrize("slices", [3, 5, 7])
def test_of_few_slices_nobody_knows_what_every_second_one_does(slices: int) -> None:
    """With one compared slice the error of the median would be 0, and any shift certain."""
    found = measured(shifted(2)[:, :, 1 : slices + 1])

    assert np.isnan([found.slice_shift_mm, found.slice_shift_error_mm]).all()
    assert np.isnan([found.brightness_step, found.brightness_step_error]).all()
    assert found.neighbour_correlation > 0.3


def test_what_changes_evenly_along_the_head_is_no_step() -> None:
    """Brightness that bends, as in a ball, makes each slice brighter than both neighbours."""
    slices = head() * (1 - 0.04 * (np.arange(9) - 4.0) ** 2).astype(np.float32)

    found = measured(slices)

    assert found.brightness_step < 0.02


def test_the_error_of_few_slices_is_that_of_student_s_t() -> None:
    values = [[value] for value in (0.0, 1.0, 0.0, 3.0, 0.0, 5.0)]

    # pairs 0.5, 0.5, 1.5, 1.5, 2.5; 2.571 is exceeded by 2.5 % of t with 5 degrees of freedom
    expected = 1.85 * 1.0 * np.sqrt(2 / 6) * 2.571 / 2
    assert _alternating(values) == pytest.approx((1.5, expected), rel=1e-3)


@pytest.mark.parametrize("pixels", [-5, -2, 2, 5])
def test_every_second_slice_displaced_is_measured_in_mm(pixels: int) -> None:
    assert measured(shifted(pixels)).slice_shift_mm == pytest.approx(2.0 * abs(pixels), abs=0.5)


def test_a_tilt_is_no_displacement() -> None:
    slices = np.stack([np.roll(head()[:, :, n], n - 4, axis=0) for n in range(9)], axis=-1)

    assert measured(slices).slice_shift_mm < 0.5


def test_every_second_slice_brighter_is_measured_as_a_ratio() -> None:
    slices = head()
    slices[:, :, ::2] *= 1.2

    assert np.exp(measured(slices).brightness_step) == pytest.approx(1.2, abs=0.04)


def test_noise_is_rough_and_has_nothing_to_do_with_its_neighbours(
    rng: np.random.Generator,
) -> None:
    found = measured(rng.normal(size=SHAPE).astype(np.float32))

    assert abs(found.smoothness) < 0.02
    assert abs(found.neighbour_correlation) < 0.1


def test_a_ramp_is_smooth_and_brownian_motion_half_so(rng: np.random.Generator) -> None:
    ramp = np.add.outer(np.arange(48.0), np.arange(56.0))[:, :, None] * np.ones(9)
    # Sums of independent steps: squares of differences grow with the distance.
    walk = rng.normal(size=(48, 1, 9)).cumsum(0) + rng.normal(size=(1, 56, 9)).cumsum(1)

    assert measured(ramp.astype(np.float32)).smoothness == pytest.approx(1.0, abs=0.01)
    assert measured(walk.astype(np.float32)).smoothness == pytest.approx(0.5, abs=0.08)


def test_levels_are_quantiles_over_the_99th_percentile(rng: np.random.Generator) -> None:
    slices = np.zeros((120, 120, 5), np.float32)  # half air, half evenly from 1 to 2
    slices[60:] = rng.permutation(np.linspace(1, 2, 60 * 120 * 5)).reshape(60, 120, 5)

    found = measured(slices)

    expected = np.quantile(np.linspace(1, 2, 801), (0.05, 0.1, 0.25, 0.5, 0.75, 0.9)) / 1.99
    assert_allclose(found.levels, expected, atol=0.02)
    # A hundredth of 1.99 holds so much of an even distribution over 1.
    assert found.concentration == pytest.approx(0.02, abs=0.007)


def test_one_intensity_is_all_there_is_in_a_disc() -> None:
    x, y = np.indices(SHAPE[:2])
    disc = (np.hypot(x - 24, y - 28) < 18).astype(np.float32)[:, :, None] * np.ones(9, np.float32)

    found = measured(disc)

    assert found.concentration == 1
    assert found.slice_shift_mm < 1e-6


@pytest.mark.parametrize(("a", "b"), [(3.0, -50.0), (0.01, 1e3)])
def test_measures_do_not_depend_on_scale_and_offset(a: float, b: float) -> None:
    # float32 rounds 1000 + 0.01 y to some 6e-5
    assert_allclose(numbers(measured(a * head() + np.float32(b))), numbers(measured(head())),
                    rtol=0.02, atol=0.02)  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_measures_of_a_mirrored_scan_are_the_same(axis: int) -> None:
    mirrored = np.ascontiguousarray(np.flip(head(), axis))

    assert_allclose(numbers(measured(mirrored)), numbers(measured(head())), rtol=0.02, atol=0.02)


def test_the_axis_of_the_slices_changes_nothing() -> None:
    upright = stack(head())
    turned = Volume(*(np.ascontiguousarray(np.moveaxis(part, 2, 0)) for part in
                      (upright.data, upright.observed)), upright.affine)  # fmt: skip

    found = consistency(turned)

    assert found is not None
    assert_allclose(numbers(found), numbers(measured(head())))


def test_holes_of_slices_are_no_anatomy() -> None:
    slices = head()
    slices[:5, :, 4] = np.nan

    assert_allclose(numbers(measured(slices)), numbers(measured(head())), atol=0.05)


def test_few_small_or_even_slices_are_measured_as_far_as_they_go() -> None:
    two = measured(head()[:, :, 3:5])
    tiny = measured(head()[22:24, 26:28])
    alike = measured(np.ones(SHAPE, np.float32))

    assert np.isnan(two.slice_shift_mm)
    assert two.smoothness > 0
    assert np.isnan([tiny.neighbour_correlation, tiny.concentration, *tiny.levels]).all()
    assert not alike.contrast


@pytest.mark.parametrize("size", [(12, 14), (12, 56), (48, 14)])
def test_slices_narrower_than_a_coarse_pixel_have_nothing_to_compare(
    size: tuple[int, int],
) -> None:
    found = consistency(stack(head()[: size[0], : size[1]], mm=0.1))

    assert found is not None
    assert np.isnan(found.slice_shift_mm)


def test_scattered_voxels_are_no_stack(rng: np.random.Generator) -> None:
    observed = rng.random((9, 9, 9)) < 0.5

    assert consistency(Volume(np.ones((9, 9, 9), np.float32), observed, np.eye(4))) is None
