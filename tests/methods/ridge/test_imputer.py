"""Tests for mriimpute.methods.ridge.imputer."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from mriimpute.cohort.stack import intensity_range, slices_of
from mriimpute.geometry import Stack, find_stack
from mriimpute.interpolation import interpolated
from mriimpute.methods.ridge.filters import Filters
from mriimpute.methods.ridge.imputer import CrossPlaneRidge, _fill
from mriimpute.methods.ridge.moments import Config, moments_of_slices
from mriimpute.progress import SILENT
from mriimpute.volume import Volume


def isotropic(rng: np.random.Generator, size: int = 40) -> np.ndarray:
    """A random field that looks alike in every plane."""
    noise = rng.normal(size=(size, size, size))
    return (100 + 400 * ndimage.gaussian_filter(noise, 2.0)).astype(np.float32)


def sparse(truth: np.ndarray, axis: int = 2, step: int = 3) -> Volume:
    observed = np.zeros(truth.shape, bool)
    np.moveaxis(observed, axis, 0)[::step] = True
    return Volume(np.where(observed, truth, np.float32(np.nan)), observed, np.eye(4))


def run(volume: Volume, imputer: CrossPlaneRidge | None = None):  # noqa: ANN201
    return (imputer or CrossPlaneRidge()).impute(volume, seed=0, case="a")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_it_beats_every_interpolator_where_texture_is_isotropic(
    axis: int, rng: np.random.Generator
) -> None:
    truth = isotropic(rng)
    volume = sparse(truth, axis)
    missing = ~volume.observed

    ours = np.square(run(volume).mean - truth)[missing].mean()

    for kind in ("linear", "pchip", "cubic"):
        theirs = np.square(interpolated(volume, kind) - truth)[missing].mean()
        assert ours < 0.9 * theirs, kind


def test_its_spread_is_that_of_its_errors(rng: np.random.Generator) -> None:
    truth = isotropic(rng)
    volume = sparse(truth)
    missing = ~volume.observed
    missing[..., 39] = False

    imputed = run(volume)

    assert imputed.std is not None
    error = (imputed.mean - truth)[missing]
    std = imputed.std[missing]
    assert np.square(error / std).mean() == pytest.approx(1.0, abs=0.2)
    assert (np.abs(error) < 1.645 * std).mean() == pytest.approx(0.9, abs=0.03)


def test_draws_scatter_about_the_mean_by_the_spread(rng: np.random.Generator) -> None:
    volume = sparse(isotropic(rng, 24))
    imputed = run(volume)
    assert imputed.draw is not None
    assert imputed.std is not None

    draws = np.stack([imputed.draw(n) for n in range(1, 41)])

    missing = ~volume.observed
    ratio = draws.std(axis=0, ddof=1)[missing].mean() / imputed.std[missing].mean()
    assert ratio == pytest.approx(1.0, abs=0.05)
    bias = (draws.mean(axis=0) - imputed.mean)[missing] / imputed.std[missing]
    assert np.square(bias).mean() == pytest.approx(1 / 40, rel=0.3)


def test_acquired_voxels_keep_every_bit(rng: np.random.Generator) -> None:
    volume = sparse(isotropic(rng, 16))

    imputed = run(volume)

    seen = volume.observed
    assert imputed.draw is not None
    assert imputed.std is not None
    assert_array_equal(imputed.mean[seen], volume.data[seen])
    assert_array_equal(imputed.draw(3)[seen], volume.data[seen])
    assert (imputed.std[seen] == 0).all()
    assert (imputed.std[~seen] > 0).all()


def test_unobserved_values_never_reach_the_output(rng: np.random.Generator) -> None:
    truth = isotropic(rng, 16)
    gaps = sparse(truth)
    full = Volume(truth, gaps.observed, gaps.affine)

    first, second = run(gaps), run(full)

    assert first.std is not None
    assert second.std is not None
    assert_array_equal(second.mean, first.mean)
    assert_array_equal(second.std, first.std)


def test_a_change_of_units_changes_the_units_of_the_result(rng: np.random.Generator) -> None:
    volume = sparse(isotropic(rng, 20))
    moved = Volume(volume.data * 7 + 300, volume.observed, volume.affine)

    before, after = run(volume), run(moved)

    assert before.std is not None
    assert after.std is not None
    tolerance = 1e-4 * 7 * np.ptp(before.mean)
    assert_allclose(after.mean, 7 * before.mean + 300, atol=tolerance)
    assert_allclose(after.std, 7 * before.std, atol=tolerance)


def textures() -> dict[str, np.ndarray]:
    """Fields where many windows lie on the border of two classes, as they do in whole numbers."""
    rng = np.random.default_rng(3)
    size = 18
    i, j, k = np.meshgrid(*[np.linspace(-1, 1, size)] * 3, indexing="ij")
    waves = 500 + 200 * np.sin(7 * i + 2 * k) + 200 * np.cos(9 * j - 3 * k)
    head = (waves + rng.normal(0, 10, waves.shape)) * (i**2 + j**2 + k**2 < 0.8)
    return {
        "smooth": isotropic(rng, size),
        "whole": head.round().astype(np.float32),
        "coarse": (head / 40).round().astype(np.float32),
        "boxes": np.kron(rng.integers(0, 6, (3, 3, 3)), np.ones((6, 6, 6))).astype(np.float32),
    }


UNITS = [(7, 300), (0.1, 5), (3.3, -1000), (1, 4000), (1 / 3, 9000), (1e-3, 1), (1234.5, 0.7)]


@pytest.mark.parametrize("texture", textures())
def test_units_change_nothing_for_any_factor_and_any_offset(texture: str) -> None:
    truth = textures()[texture].astype(np.float64)
    contrast = np.ptp(truth)
    before = run(sparse(truth.astype(np.float32), step=3))
    assert before.std is not None

    for a, b in UNITS:
        shift = b * a * contrast / 1000  # rounding of a shift grows with it: at most 9 ranges
        after = run(sparse((a * truth + shift).astype(np.float32)))
        assert after.std is not None
        mean, std = (after.mean.astype(np.float64) - shift) / a, after.std.astype(np.float64) / a
        assert np.abs(mean - before.mean).max() < 2e-4 * contrast, (a, b)
        assert np.abs(std - before.std).max() < 2e-4 * contrast, (a, b)


@pytest.mark.parametrize("exponent", [-110, -80, 60, 100])
def test_extreme_scales_give_the_same_digits(exponent: int) -> None:
    truth = textures()["whole"]

    before, after = run(sparse(truth)), run(sparse(np.ldexp(truth, exponent)))

    assert before.std is not None
    assert after.std is not None
    assert_array_equal(np.ldexp(after.mean, -exponent), before.mean)
    assert_array_equal(np.ldexp(after.std, -exponent), before.std)


def test_transposing_the_slices_transposes_the_result(rng: np.random.Generator) -> None:
    volume = sparse(isotropic(rng, 18))
    turned = Volume(
        volume.data.transpose(1, 0, 2), volume.observed.transpose(1, 0, 2), volume.affine
    )

    assert_allclose(run(turned).mean.transpose(1, 0, 2), run(volume).mean, rtol=1e-4)


def test_filters_of_a_cohort_serve_a_scan_they_have_not_seen(rng: np.random.Generator) -> None:
    config = Config()
    other = sparse(isotropic(rng))
    stack = find_stack(other.observed)
    assert stack is not None
    moments = moments_of_slices(slices_of(other, stack), 3, intensity_range(other), config)
    truth = isotropic(rng)
    volume = sparse(truth)
    missing = ~volume.observed

    cohort = run(volume, CrossPlaneRidge(config, {3: moments})).mean

    linear = interpolated(volume, "linear")
    assert (
        np.square(cohort - truth)[missing].mean() < 0.8 * np.square(linear - truth)[missing].mean()
    )


def test_an_uneven_stack_with_holes_is_filled(rng: np.random.Generator) -> None:
    truth = isotropic(rng, 20)
    observed = np.zeros(truth.shape, bool)
    observed[..., [2, 4, 7, 10, 13, 14, 18]] = True
    observed[5:8, 5:8] = False
    volume = Volume(np.where(observed, truth, np.float32(np.nan)), observed, np.eye(4))

    imputed = run(volume)

    assert imputed.std is not None
    assert imputed.draw is not None
    assert np.isfinite(imputed.mean).all()
    assert np.isfinite(imputed.draw(1)).all()
    assert (imputed.std[~observed] > 0).all()


def test_a_pattern_that_is_no_stack_is_interpolated_and_says_so(
    rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    truth = isotropic(rng, 12)
    observed = rng.random(truth.shape) < 0.5
    volume = Volume(truth, observed, np.eye(4))

    imputed = run(volume)

    assert "no slice stack" in caplog.text
    assert imputed.std is not None
    assert_array_equal(imputed.mean, interpolated(volume, "linear"))
    assert (imputed.std[~observed] > 0).all()


def test_two_slices_of_a_constant_scan_are_filled_with_the_constant() -> None:
    data = np.full((6, 6, 4), 5, np.float32)
    observed = np.zeros(data.shape, bool)
    observed[..., [0, 3]] = True

    imputed = run(Volume(data, observed, np.eye(4)))

    assert_allclose(imputed.mean, 5)
    assert imputed.std is not None
    assert np.isfinite(imputed.std).all()


@pytest.mark.parametrize("share", [0.3, 0.97])
def test_draws_exist_where_voxels_are_missing_here_and_there(
    share: float, rng: np.random.Generator
) -> None:
    truth = isotropic(rng, 12)
    observed = rng.random(truth.shape) > share
    volume = Volume(np.where(observed, truth, np.float32(np.nan)), observed, np.eye(4))

    imputed = run(volume)

    assert imputed.draw is not None
    assert imputed.std is not None
    draw = imputed.draw(1)
    assert np.isfinite(draw).all()
    assert_array_equal(draw[observed], truth[observed])
    assert (draw[~observed] != imputed.mean[~observed]).all()


def test_draws_of_a_constant_scan_are_constant() -> None:
    volume = sparse(np.full((12, 12, 7), 7, np.float32))

    imputed = run(volume)

    assert imputed.draw is not None
    assert_array_equal(imputed.draw(1), np.full(volume.shape, 7, np.float32))


def test_slices_too_small_to_learn_from_do_not_make_the_spread_vanish(
    rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    truth = isotropic(rng, 24)
    volume = sparse(truth, step=11)  # four lines 11 apart take 34 pixels

    imputed = run(volume)

    missing = ~volume.observed
    assert imputed.std is not None
    assert imputed.std[missing].min() > 0.1 * truth.std()
    assert_array_equal(imputed.mean, interpolated(volume, "linear"))
    assert "slices show nothing about gaps of 11 voxels" in caplog.text


class PlantedFilters(Filters):
    """Predicts zero with errors of known variance that correlate by 0.8 between the planes."""

    def __init__(self, rng: np.random.Generator) -> None:
        common, first, second = rng.normal(size=(3, 1, 200, 200))
        share = np.sqrt(0.8)
        left = np.sqrt(1 - 0.8)
        self.planes = [
            (2.0 * (share * common + left * first), 4.0),
            (0.7 * (share * common + left * second).transpose(0, 2, 1), 0.49),
        ]

    def predict(self, lines: np.ndarray, scale: float, *, has_outer: tuple[bool, bool]):  # noqa: ANN201
        error, variance = self.planes.pop(0)
        return error.astype(np.float32), np.full(error.shape, variance, np.float32)


def test_fused_variance_knows_what_the_planes_have_in_common(rng: np.random.Generator) -> None:
    slabs = np.zeros((3, 200, 200), np.float32)

    planted = {2: PlantedFilters(rng)}
    variance = _fill(slabs, slabs[[0, 2]], Stack(0, (0, 2)), planted, 1.0, SILENT)

    assert variance[1].mean() == pytest.approx(np.square(slabs[1]).mean(), rel=0.05)
