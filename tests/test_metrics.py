"""Tests for mriimpute.metrics."""

import math

import numpy as np
import pytest
import scoringrules
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mriimpute import metrics
from mriimpute.seeds import numpy_stream

MANY = 40_000  # voxels that make a share accurate to half a percent


def volume(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.uniform(10, 90, shape).astype(np.float32)


def gaussian(
    rng: np.random.Generator, draws: int, *, spread: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth ~ N(mean, 1) and draws ~ N(mean, spread): an exact sampler where spread is 1."""
    mean = rng.uniform(-5, 5, MANY)
    truth = mean + rng.standard_normal(MANY)
    return truth, mean, mean + spread * rng.standard_normal((draws, MANY))


def test_truth_against_itself_is_perfect(rng: np.random.Generator) -> None:
    truth = volume(rng, 12, 12, 12)
    region = rng.random(truth.shape) < 0.3
    values = truth[region]
    draws = np.repeat(values[None], 20, axis=0)

    assert metrics.psnr(values, values, data_range=90.0) == math.inf
    assert metrics.mae(values, values) == metrics.rmse(values, values) == 0
    assert metrics.crps(values, draws) == 0
    assert metrics.coverage(values, *metrics.interval(draws)) == 1
    assert metrics.ssim(truth, truth, region=region, data_range=90.0) == pytest.approx(1)


def test_psnr_of_everything_is_that_of_scikit_image(rng: np.random.Generator) -> None:
    truth, image = volume(rng, 9, 8, 7), volume(rng, 9, 8, 7)

    ours = metrics.psnr(truth.ravel(), image.ravel(), data_range=80.0)

    assert ours == pytest.approx(peak_signal_noise_ratio(truth, image, data_range=80.0))


@pytest.mark.parametrize("inside", [slice(None), slice(6, 9)])
def test_ssim_is_the_map_of_scikit_image_averaged_over_the_region(
    inside: slice, rng: np.random.Generator
) -> None:
    truth, image = volume(rng, 16, 15, 14), volume(rng, 16, 15, 14)
    region = np.zeros(truth.shape, bool)
    region[inside, inside, inside] = True
    _, expected = structural_similarity(
        truth.astype(float),
        image.astype(float),
        data_range=90.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )

    ours = metrics.ssim(truth, image, region=region, data_range=90.0)

    assert ours == pytest.approx(expected[region].mean(), rel=1e-10)


def test_ssim_of_a_thin_slab_is_defined(rng: np.random.Generator) -> None:
    truth, image = volume(rng, 12, 12, 3), volume(rng, 12, 12, 3)

    ours = metrics.ssim(truth, image, region=np.ones(truth.shape, bool), data_range=90.0)

    assert -1 < ours < 0.5


def test_ssim_looks_no_further_than_its_window(rng: np.random.Generator) -> None:
    truth, image = volume(rng, 16, 16, 16), volume(rng, 16, 16, 16)
    region = np.zeros(truth.shape, bool)
    region[3:6, 3:6, 3:6] = True
    expected = metrics.ssim(truth, image, region=region, data_range=90.0)
    far = np.ones(truth.shape, bool)
    far[:11, :11, :11] = False

    ours = metrics.ssim(
        np.where(far, np.float32(np.nan), truth),
        np.where(far, np.float32(np.nan), image),
        region=region,
        data_range=90.0,
    )

    assert ours == expected


@pytest.mark.parametrize("draws", [2, 3, 20])
def test_crps_is_the_fair_estimator_of_scoringrules(draws: int, rng: np.random.Generator) -> None:
    truth, ensemble = rng.normal(size=50), rng.normal(size=(draws, 50))
    expected = scoringrules.crps_ensemble(truth, ensemble.T, estimator="fair").mean()

    assert metrics.crps(truth, ensemble) == pytest.approx(expected, rel=1e-10)


def test_crps_of_gaussian_draws_is_the_closed_form(rng: np.random.Generator) -> None:
    truth, mean, draws = gaussian(rng, 20, spread=1.3)
    expected = scoringrules.crps_normal(truth, mean, 1.3).mean()

    assert metrics.crps(truth, draws) == pytest.approx(expected, rel=0.01)


def test_crps_of_one_draw_repeated_is_the_absolute_error(rng: np.random.Generator) -> None:
    truth, image = rng.normal(size=30), rng.normal(size=30)

    ours = metrics.crps(truth, np.repeat(image[None], 5, axis=0))

    assert ours == pytest.approx(metrics.mae(truth, image), rel=1e-10)


@given(shift=st.floats(-1e6, 1e6), scale=st.floats(0.01, 100))
def test_crps_moves_with_the_intensities(shift: float, scale: float) -> None:
    rng = numpy_stream(0, "crps units")
    truth, draws = rng.normal(size=40), rng.normal(size=(6, 40))

    ours = metrics.crps(shift + scale * truth, shift + scale * draws)

    assert ours == pytest.approx(scale * metrics.crps(truth, draws), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("draws", [19, 20, 50])
def test_interval_of_an_exact_sampler_covers_90_percent(
    draws: int, rng: np.random.Generator
) -> None:
    truth, _, ensemble = gaussian(rng, draws)

    covered = metrics.coverage(truth, *metrics.interval(ensemble))

    assert covered == pytest.approx(0.90, abs=0.007)


@pytest.mark.parametrize(("spread", "low", "high"), [(0.5, 0.0, 0.65), (2.0, 0.98, 1.0)])
def test_wrong_dispersion_is_caught_by_coverage_and_spread(
    spread: float, low: float, high: float, rng: np.random.Generator
) -> None:
    truth, mean, draws = gaussian(rng, 20, spread=spread)

    assert low < metrics.coverage(truth, *metrics.interval(draws)) < high
    assert metrics.spread_skill(truth, mean, draws) == pytest.approx(spread, rel=0.02)


def test_one_draw_of_an_ideal_sampler_lies_3_db_below_the_mean(rng: np.random.Generator) -> None:
    truth, mean, draws = gaussian(rng, 20)

    assert metrics.draw_gap_db(truth, mean, draws) == pytest.approx(3.01, abs=0.05)


def test_collapsed_draws_lie_less_than_3_db_below_the_mean(rng: np.random.Generator) -> None:
    truth, mean, draws = gaussian(rng, 20, spread=0.3)

    assert metrics.draw_gap_db(truth, mean, draws) < 1


def test_interval_of_too_few_draws_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="draws must be at least 19, got 18"):
        metrics.interval(rng.normal(size=(18, 3)))


def test_crps_of_one_draw_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="draws must be at least 2, got 1"):
        metrics.crps(rng.normal(size=3), rng.normal(size=(1, 3)))
