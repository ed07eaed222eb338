"""Tests for mriimpute.metrics.pooling: Rubin's rules."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from mriimpute import metrics


def test_three_draws_are_pooled_as_by_hand() -> None:
    pooled = metrics.pool([10.0, 12.0, 14.0], [4.0, 5.0, 7.0])

    # B = (4 + 0 + 4) / 2 = 4 and W = 16/3 = (1 + 1/3) B: half of the variance is of the draws.
    assert pooled.estimate == 12
    assert pooled.within == pooled.total / 2 == pytest.approx(16 / 3)
    assert pooled.between == 4
    assert pooled.dof == pytest.approx(2 * (1 + 1) ** 2)
    # A table of Student's t says 1.860 for 8 degrees of freedom, 5 % above.
    reach = 1.860 * math.sqrt(32 / 3)
    assert_allclose(pooled.interval, (12 - reach, 12 + reach), atol=2e-3)


def test_draws_that_agree_leave_the_variance_of_the_measurement_alone() -> None:
    pooled = metrics.pool([5.0, 5.0, 5.0], [4.0, 4.0, 4.0], level=0.95)

    assert pooled.dof == math.inf
    assert_allclose(pooled.interval, (5 - 2 * 1.959964, 5 + 2 * 1.959964), rtol=1e-6)
    assert metrics.pool([5.0, 5.0]).interval == (5.0, 5.0)


def test_several_volumes_are_pooled_one_by_one(rng: np.random.Generator) -> None:
    values, variances = rng.normal(size=(2, 7, 3)) ** 2

    together = metrics.pool(values, variances)

    for n in range(3):
        alone = metrics.pool(values[:, n], variances[:, n])
        for name in ("estimate", "within", "between", "total", "dof"):
            assert getattr(together, name)[n] == pytest.approx(getattr(alone, name))
        assert_allclose([end[n] for end in together.interval], alone.interval)


@pytest.mark.parametrize(("draws", "level"), [(2, 0.9), (5, 0.5), (20, 0.9), (20, 0.95)])
def test_exact_draws_of_a_certain_measurement_cover_it_as_often_as_stated(
    draws: int, level: float, rng: np.random.Generator
) -> None:
    truth, *drawn = rng.normal(3.0, 2.0, (1 + draws, 20_000))

    low, high = metrics.pool(drawn, level=level).interval

    assert ((low <= truth) & (truth <= high)).mean() == pytest.approx(level, abs=0.01)


def test_a_mean_of_patients_is_covered_where_some_values_are_imputed(
    rng: np.random.Generator,
) -> None:
    """Rubin's own setting: n values, normal, a third missing at random, posterior known."""
    studies, count, seen, draws = 1_500, 60, 40, 10
    observed = rng.normal(0, 1, (studies, seen))
    # Posterior of mean and variance under the reference prior, then of the values themselves.
    mean, variance = observed.mean(axis=1), observed.var(axis=1, ddof=1)
    sigma2 = variance * (seen - 1) / rng.chisquare(seen - 1, (draws, studies))
    mu = rng.normal(mean, np.sqrt(sigma2 / seen))
    fills = rng.normal(mu[..., None], np.sqrt(sigma2)[..., None], (draws, studies, count - seen))
    complete = np.concatenate([np.broadcast_to(observed, (draws, studies, seen)), fills], axis=2)

    pooled = metrics.pool(complete.mean(axis=2), complete.var(axis=2, ddof=1) / count)

    low, high = pooled.interval
    assert ((low <= 0) & (high >= 0)).mean() == pytest.approx(0.9, abs=0.025)
    # What is missing makes the mean of all as uncertain as that of those that were seen.
    assert np.mean(pooled.total) == pytest.approx(1 / seen, rel=0.1)


def test_a_single_draw_is_no_multiple_imputation() -> None:
    for values in ([3.0], [], np.array(3.0)):
        with pytest.raises(ValueError, match="at least 2 draws"):
            metrics.pool(values)


@pytest.mark.parametrize(
    ("values", "variances", "level"),
    [
        ([1.0, 2.0], [1.0], 0.9),
        ([1.0, math.nan], None, 0.9),
        ([1.0, 2.0], [1.0, -1.0], 0.9),
        ([1.0, 2.0], [1.0, math.inf], 0.9),
        ([1.0, 2.0], None, 90.0),
    ],
)
def test_what_makes_no_sense_is_refused(
    values: list[float], variances: list[float] | None, level: float
) -> None:
    with pytest.raises(ValueError, match="must be"):
        metrics.pool(values, variances, level=level)


def test_degrees_of_freedom_are_those_of_the_draws_where_nothing_else_is_uncertain() -> None:
    values = np.arange(20.0)

    pooled = metrics.pool(values)

    assert (pooled.within, pooled.dof) == (0, 19)
    reach = stats.t.ppf(0.95, 19) * math.sqrt(1.05 * 35)
    assert_allclose(pooled.interval, (9.5 - reach, 9.5 + reach))
