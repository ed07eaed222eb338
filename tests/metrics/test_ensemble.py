"""Tests for mriimpute.metrics.ensemble."""

import numpy as np
import pytest
import scoringrules
from hypothesis import given
from hypothesis import strategies as st

from mriimpute import metrics
from mriimpute.seeds import numpy_stream

MANY = 40_000  # voxels that make a fraction accurate to half a percent


def gaussian(
    rng: np.random.Generator, draws: int, *, std: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth ~ N(mean, 1) and draws ~ N(mean, std): an exact sampler where std is 1."""
    mean = rng.uniform(-5, 5, MANY)
    truth = mean + rng.standard_normal(MANY)
    return truth, mean, mean + std * rng.standard_normal((draws, MANY))


def test_truth_against_itself_is_perfect(rng: np.random.Generator) -> None:
    values = rng.uniform(10, 90, 200).astype(np.float32)
    draws = np.repeat(values[None], 20, axis=0)

    assert metrics.crps(values, draws) == 0
    assert metrics.coverage(values, *metrics.interval(draws)) == 1


@pytest.mark.parametrize("draws", [2, 3, 20])
def test_crps_is_the_fair_estimator_of_scoringrules(draws: int, rng: np.random.Generator) -> None:
    truth, ensemble = rng.normal(size=50), rng.normal(size=(draws, 50))
    expected = scoringrules.crps_ensemble(truth, ensemble.T, estimator="fair").mean()

    assert metrics.crps(truth, ensemble) == pytest.approx(expected, rel=1e-10)


def test_crps_of_gaussian_draws_is_the_closed_form(rng: np.random.Generator) -> None:
    truth, mean, draws = gaussian(rng, 20, std=1.3)
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


@pytest.mark.parametrize(("std", "low", "high"), [(0.5, 0.0, 0.65), (2.0, 0.98, 1.0)])
def test_wrong_dispersion_is_caught_by_coverage_and_spread(
    std: float, low: float, high: float, rng: np.random.Generator
) -> None:
    truth, mean, draws = gaussian(rng, 20, std=std)

    assert low < metrics.coverage(truth, *metrics.interval(draws)) < high
    assert metrics.spread_skill(truth, mean, draws.var(axis=0, ddof=1)) == pytest.approx(
        std, rel=0.02
    )


def test_one_draw_of_an_ideal_sampler_lies_3_db_below_the_mean(rng: np.random.Generator) -> None:
    truth, mean, draws = gaussian(rng, 20)

    assert metrics.draw_gap_db(truth, mean, metrics.ensemble_of(truth, draws)) == pytest.approx(
        3.01, abs=0.05
    )


def test_collapsed_draws_lie_less_than_3_db_below_the_mean(rng: np.random.Generator) -> None:
    truth, mean, draws = gaussian(rng, 20, std=0.3)

    assert metrics.draw_gap_db(truth, mean, metrics.ensemble_of(truth, draws)) < 1


def test_interval_of_too_few_draws_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="draws must be at least 19, got 18"):
        metrics.interval(rng.normal(size=(18, 3)))


def test_crps_of_one_draw_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="draws must be at least 2, got 1"):
        metrics.crps(rng.normal(size=3), rng.normal(size=(1, 3)))


LEVELS = (0.5, 0.8, 0.9, 0.95)


@pytest.mark.parametrize("draws", [2, 9, 20, 39])
def test_what_is_kept_of_draws_is_what_they_give_together(
    draws: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mriimpute.metrics.ensemble.CHUNK_VOXELS", 70)
    truth, samples = rng.normal(size=300), rng.normal(1, 2, (draws, 300))
    expected = scoringrules.crps_ensemble(truth, samples.T, estimator="fair")

    kept = metrics.ensemble_of(truth, samples, levels=LEVELS)

    assert kept.crps == pytest.approx(expected, rel=1e-10)
    assert kept.centre == pytest.approx(samples.mean(axis=0))
    assert kept.variance == pytest.approx(samples.var(axis=0, ddof=1))
    assert kept.squared == pytest.approx(np.square(samples - truth).mean(axis=0))
    assert list(kept.covered) == [s for s in LEVELS if metrics.draws_needed(s) <= draws]
    for level, inside in kept.covered.items():
        low, high = metrics.interval(samples, level=level)
        assert np.array_equal(inside, (low <= truth) & (truth <= high))


def test_what_is_kept_of_some_voxels_is_what_their_draws_give(rng: np.random.Generator) -> None:
    truth, draws = rng.normal(size=50), rng.normal(size=(20, 50))
    chosen = rng.random(50) < 0.4

    part = metrics.ensemble_of(truth, draws, levels=LEVELS).at(chosen)

    alone = metrics.ensemble_of(truth[chosen], draws[:, chosen], levels=LEVELS)
    for name in ("crps", "centre", "variance", "squared", "below", "ties"):
        assert getattr(part, name) == pytest.approx(getattr(alone, name), rel=1e-12), name
    assert all(np.array_equal(part.covered[s], alone.covered[s]) for s in alone.covered)


def test_ranks_of_equal_values_are_shared_out_evenly() -> None:
    truth = np.array([0.0, 1.0, 5.0])
    draws = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 2.0], [2.0, 3.0, 3.0]])

    histogram = metrics.rank_histogram(metrics.ensemble_of(truth, draws))

    # Below all; at two of three, so in ranks 0, 1 and 2 alike; above all.
    assert histogram * 3 == pytest.approx([1 + 1 / 3, 1 / 3, 1 / 3, 1])
    assert histogram.sum() == pytest.approx(1)


def test_rank_distance_is_zero_if_flat_and_half_if_the_truth_is_always_outside() -> None:
    assert metrics.rank_distance(np.full(21, 1 / 21)) == pytest.approx(0, abs=1e-12)
    outside = metrics.rank_distance(np.array([0.5, *[0.0] * 19, 0.5]))
    assert outside == pytest.approx(0.5 - 1 / 21)
