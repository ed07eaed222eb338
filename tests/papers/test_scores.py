"""Tests for mriimpute.papers.scores."""

import math

import numpy as np
import pytest

from mriimpute.papers.scores import mse, psnr_db, score_draws, score_mean

SHAPE = (5, 1, 12, 12)


@pytest.fixture
def truth(rng: np.random.Generator) -> np.ndarray:
    return rng.random(SHAPE).astype(np.float32)


def test_only_missing_pixels_count_as_missing(truth: np.ndarray) -> None:
    observed = np.zeros(SHAPE, bool)
    observed[..., :6] = True
    mean = np.where(observed, truth + 1.0, truth + 0.1).astype(np.float32)

    scores = score_mean(truth, mean, observed)

    assert scores["mse_missing"] == pytest.approx(0.01, rel=1e-4)
    assert scores["mae_missing"] == pytest.approx(0.1, rel=1e-4)
    assert scores["psnr_missing_db"] == pytest.approx(20.0, abs=1e-3)
    assert scores["mse_all"] == pytest.approx(0.505, rel=1e-4)


def test_pixels_without_truth_never_count(truth: np.ndarray) -> None:
    holes, image = truth.copy(), truth + np.float32(0.5)
    holes[:, :, :3] = np.nan
    image[:, :, :3] = 1e6

    assert mse(holes, image) == pytest.approx(0.25, rel=1e-5)
    assert psnr_db(holes, image) == pytest.approx(10 * math.log10(4), rel=1e-5)


def test_nothing_missing_has_no_score_of_missing_pixels(truth: np.ndarray) -> None:
    scores = score_mean(truth, truth, np.ones(SHAPE, bool))

    assert scores["mse_all"] == 0
    assert math.isnan(scores["mse_missing"])


def test_draws_of_the_truth_s_distribution_are_calibrated(rng: np.random.Generator) -> None:
    values = rng.normal(size=(40, *(60, 1, 12, 12)))

    scores = score_draws(values[0], values[1:])

    assert scores["coverage90"] == pytest.approx(0.9, abs=0.02)
    assert scores["spread_skill"] == pytest.approx(1.0, abs=0.03)


def test_collapsed_draws_cover_little(rng: np.random.Generator) -> None:
    truth = rng.normal(size=(60, 1, 12, 12))
    draws = 0.01 * rng.normal(size=(20, 60, 1, 12, 12))

    scores = score_draws(truth, draws, prefix="latent_")

    assert set(scores) == {"latent_crps", "latent_coverage90", "latent_spread_skill"}
    assert scores["latent_coverage90"] < 0.05
    assert scores["latent_spread_skill"] < 0.05


def test_few_draws_have_no_coverage(truth: np.ndarray) -> None:
    draws = np.stack([truth, truth + np.float32(0.1)])

    scores = score_draws(truth, draws, truth > 0.5)

    assert math.isnan(scores["coverage90"])
    assert math.isfinite(scores["crps"])
