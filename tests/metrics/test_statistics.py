"""Tests for mriimpute.metrics.statistics."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mriimpute.evaluation.definitions import DEFINITIONS
from mriimpute.metrics.statistics import (
    RESAMPLES,
    Estimate,
    compare,
    estimate,
    estimates,
    holm,
    ratio_of_means,
    signed_rank_p,
)
from mriimpute.seeds import numpy_stream


def test_holm_is_the_correction_by_hand() -> None:
    # In order 0.005, 0.01, 0.03, 0.04: times 4, 3, 2, 1 that is 0.02, 0.03, 0.06, 0.04.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.7, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_helps_and_never_exceeds_bonferroni(p: list[float]) -> None:
    corrected = holm(p)

    assert all(one <= other <= 1 for one, other in zip(p, corrected, strict=True))
    assert all(c <= len(p) * one + 1e-12 for one, c in zip(p, corrected, strict=True))
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()


def test_signed_rank_test_is_exact_for_few_subjects() -> None:
    assert signed_rank_p(np.arange(1.0, 7.0)) == pytest.approx(2 / 2**6)
    assert signed_rank_p(np.array([1.0, 1, 2, 3, 4])) == pytest.approx(2 / 2**5)  # with ties
    assert signed_rank_p(np.zeros(7)) == 1


@pytest.mark.parametrize("statistic", [np.mean, np.median])
def test_interval_is_the_bca_of_scipy(statistic: object, rng: np.random.Generator) -> None:
    values = rng.lognormal(size=18)
    expected = stats.bootstrap(
        (values,),
        statistic,
        n_resamples=RESAMPLES,
        method="BCa",
        rng=numpy_stream(3, "evaluate", "bootstrap"),
    ).confidence_interval

    found = estimate(values, 3, statistic=statistic)  # type: ignore[arg-type]

    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-9)


@pytest.mark.parametrize("skewed", [False, True])
def test_intervals_hold_the_true_mean_about_as_often_as_they_say(
    skewed: bool, rng: np.random.Generator
) -> None:
    shape = (300, 20)
    samples = rng.exponential(1, shape) - 1 if skewed else rng.normal(0, 1, shape)

    found = estimates(dict(enumerate(samples)), 0)

    held = np.mean([e.low <= 0 <= e.high for e in found.values()])
    assert 0.88 <= held <= 0.98  # of twenty subjects; percentile intervals hold less


@pytest.mark.slow
@pytest.mark.parametrize(("subjects", "held_fraction"), [(5, 0.84), (18, 0.92)])
def test_intervals_of_few_subjects_are_as_narrow_as_the_definition_says(
    subjects: int, held_fraction: float, rng: np.random.Generator
) -> None:
    samples = rng.normal(0, 1, (1200, subjects))

    found = estimates(dict(enumerate(samples)), 0)

    held = np.mean([e.low <= 0 <= e.high for e in found.values()])
    assert held == pytest.approx(held_fraction, abs=0.03)
    assert f"{100 * held_fraction:.0f} %" in DEFINITIONS["interval"].text


def test_many_estimates_are_those_of_each_alone(rng: np.random.Generator) -> None:
    values = {n: rng.normal(size=6 + n % 2) for n in range(20)}
    values |= {n: rng.normal(size=9) for n in range(23, 39)}  # some resamples have their mean
    values |= {20: np.ones(6), 21: np.ones(3), 22: np.array([np.nan, *range(6)])}

    found = estimates(values, 0)

    for key, scores in values.items():
        alone = estimate(scores, 0)
        for name in ("mean", "low", "high"):
            np.testing.assert_array_equal(getattr(found[key], name), getattr(alone, name))


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ([], math.nan),
        ([1.0, 2.0, 3.0, 6.0], 3.0),
        ([1.0, 2.0, 3.0, 4.0, math.nan], math.nan),
        ([1.0, 2.0, 3.0, 4.0, math.inf], math.inf),
        ([-math.inf, 2.0, 3.0, 4.0, math.inf], math.nan),
    ],
)
def test_without_five_numbers_there_is_no_interval(values: list[float], mean: float) -> None:
    found = estimate(np.array(values), 0)

    assert found.mean == pytest.approx(mean, nan_ok=True)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_equal_values_are_their_own_interval() -> None:
    assert estimate(np.full(5, 0.5), 0) == Estimate(mean=0.5, low=0.5, high=0.5)


def test_median_that_no_subject_moves_has_the_percentile_interval() -> None:
    found = estimate(np.array([1.0, 1.0, 1.0, 1.0, 2.0]), 0, statistic=np.median)

    assert (found.mean, found.low) == (1, 1)
    assert found.high in (1, 2)


def test_comparison_counts_and_corrects(rng: np.random.Generator) -> None:
    base = rng.normal(22, 2, 12)
    better, worse = base + rng.uniform(0.5, 1, 12), base - rng.uniform(0, 1, 12)
    same = base + rng.normal(0, 0.1, 12)

    found = compare({"base": base, "better": better, "worse": worse, "same": same}, "base", 0)

    assert list(found) == ["better", "worse", "same"]
    assert [found[m].wins for m in ("better", "worse")] == [12, 0]
    assert found["better"].p_alone == pytest.approx(2 / 2**12)
    assert found["better"].p == pytest.approx(3 * 2 / 2**12)
    assert found["better"].mean.low > 0 > found["worse"].mean.high
    assert found["better"].median.mean == pytest.approx(np.median(better - base))
    assert found["same"].p > 0.01
    assert {(c.reference, c.subjects) for c in found.values()} == {("base", 12)}


def test_comparison_has_two_sides(rng: np.random.Generator) -> None:
    scores = {"a": rng.normal(22, 2, 9), "b": rng.normal(22, 2, 9)}

    forth, back = compare(scores, "a", 0)["b"], compare(scores, "b", 0)["a"]

    assert forth.p == back.p
    assert forth.mean.mean == pytest.approx(-back.mean.mean)
    assert forth.wins == 9 - back.wins


def test_four_subjects_are_not_compared(rng: np.random.Generator) -> None:
    assert compare({"a": rng.normal(size=4), "b": rng.normal(size=4)}, "a", 0) == {}


def test_two_perfect_methods_do_not_differ() -> None:
    perfect = np.full(5, math.inf)

    (found,) = compare({"a": perfect, "b": perfect}, "a", 0).values()

    assert (found.mean.mean, found.wins, found.p) == (0, 0, 1)


def test_share_is_the_ratio_of_means_with_the_bca_interval_of_pairs() -> None:
    rng = numpy_stream(0, "test share")
    whole = rng.normal(1.0, 0.2, 12)
    part = 0.9 * whole + rng.normal(0.0, 0.05, 12)

    found = ratio_of_means(part, whole, 3)

    expected = stats.bootstrap(
        (part, whole),
        lambda a, b, axis: a.mean(axis) / b.mean(axis),
        paired=True,
        n_resamples=RESAMPLES,
        rng=numpy_stream(3, "evaluate", "bootstrap"),
    ).confidence_interval
    assert found.mean == pytest.approx(part.mean() / whole.mean())
    assert (found.low, found.high) == pytest.approx(tuple(expected))


def test_share_of_what_may_be_nothing_has_no_interval() -> None:
    part = np.array([0.1, 0.2, 0.1, 0.2, 0.1])

    nothing = ratio_of_means(part, np.array([0.1, -0.3, 0.1, -0.2, 0.1]), 0)
    perhaps = ratio_of_means(part, np.array([0.4, -0.3, 0.2, -0.2, 0.1]), 0)
    few = ratio_of_means(part[:4], np.ones(4), 0)
    sure = ratio_of_means(0.5 * np.ones(5), np.ones(5), 0)

    assert math.isnan(nothing.mean)
    assert math.isfinite(perhaps.mean)
    assert all(map(math.isnan, (nothing.low, perhaps.low, few.low)))
    assert (sure.low, sure.high) == pytest.approx((0.5, 0.5))
