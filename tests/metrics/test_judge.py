"""The judge judges itself: Gaussian fields with a known posterior have the scores they must have.

The truth is its posterior mean plus noise of unit variance, and the samplers differ in nothing but
the noise of their draws: as large as the truth's, half or twice as large, or not correlated.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import scoringrules
from scipy import ndimage, special, stats

from mriimpute import metrics
from mriimpute.seeds import numpy_stream

SHAPE = (32, 32, 32)  # that many voxels make a fraction accurate to half a percent
REGION = np.ones(SHAPE, bool)
DRAWS = 40  # enough for the 95 % interval
LEVELS = (0.5, 0.8, 0.9, 0.95)


class Field(NamedTuple):
    truth: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    draws: np.ndarray

    def ensemble(self) -> metrics.Ensemble:
        return metrics.ensemble_of(self.truth, self.draws, levels=LEVELS)


def noise(*purpose: str | int, correlated: bool) -> np.ndarray:
    """Unit variance; if correlated, over about five voxels."""
    white = numpy_stream(0, "judge", *purpose).standard_normal(SHAPE)
    if not correlated:
        return white.ravel()
    smooth = ndimage.gaussian_filter(white, 2.0, mode="wrap")
    return (smooth / smooth.std()).ravel()


def field(std: float = 1.0, *, correlated: bool = False, alike: bool = True) -> Field:
    mean = numpy_stream(0, "judge", "mean").uniform(-5, 5, REGION.size)
    of_draws = correlated and alike
    return Field(
        truth=mean + noise("truth", correlated=correlated),
        mean=mean,
        std=np.full(REGION.size, std),
        draws=np.stack([mean + std * noise("draw", n, correlated=of_draws) for n in range(DRAWS)]),
    )


def chi_mean(dimensions: int) -> float:
    """Mean length of a vector of that many standard normal numbers."""
    return math.sqrt(2) * math.exp(
        special.gammaln((dimensions + 1) / 2) - special.gammaln(dimensions / 2)
    )


def covered(level: float) -> Callable[[Field], float]:
    return lambda f: float(f.ensemble().covered[level].mean())


def covered_std(level: float) -> Callable[[Field], float]:
    return lambda f: metrics.coverage(
        f.truth, *metrics.gaussian_interval(f.mean, f.std, level=level)
    )


# What a score is of, what it is for an exact sampler of unit variance, and how closely.
IDEAL: dict[str, tuple[Callable[[Field], float], float, float]] = {
    "crps": (lambda f: metrics.crps(f.truth, f.draws), 1 / math.sqrt(math.pi), 0.01),
    "energy": (
        lambda f: metrics.energy_score(f.truth, f.draws, region=REGION),
        chi_mean(64) / math.sqrt(2) / 8,
        0.01,
    ),
    "nll": (
        lambda f: metrics.nll(f.truth, f.mean, f.std, floor=1e-6),
        0.5 * math.log(2 * math.pi * math.e),
        0.01,
    ),
    "nll of draws": (
        lambda f: metrics.nll_of_draws(f.truth, f.ensemble(), floor=1e-6),
        0.5 * math.log(2 * math.pi * math.e),
        0.01,
    ),
    **{f"coverage {level}": (covered(level), level, 0.01) for level in LEVELS},
    **{f"coverage of std {level}": (covered_std(level), level, 0.01) for level in LEVELS},
    "spread/skill": (
        lambda f: metrics.spread_skill(f.truth, f.mean, f.ensemble().variance),
        1.0,
        0.01,
    ),
    "draw gap": (lambda f: metrics.draw_gap_db(f.truth, f.mean, f.ensemble()), 3.01, 0.03),
    "rank distance": (
        lambda f: metrics.rank_distance(metrics.rank_histogram(f.ensemble())),
        0.0,
        0.01,
    ),
}
PROPER = ("crps", "energy", "nll", "nll of draws")


@pytest.mark.parametrize("name", IDEAL)
def test_exact_sampler_has_the_known_score(name: str) -> None:
    score, ideal, tolerance = IDEAL[name]

    assert score(field()) == pytest.approx(ideal, abs=tolerance)


@pytest.mark.parametrize("std", [0.6, 1.6])
@pytest.mark.parametrize("name", IDEAL)
def test_over_and_under_dispersed_samplers_are_caught_by_every_score(
    name: str, std: float
) -> None:
    score, ideal, tolerance = IDEAL[name]

    found = score(field(std))

    assert abs(found - ideal) > 2 * tolerance
    if name in PROPER:
        assert found > ideal


@pytest.mark.parametrize("std", [0.6, 1.6])
def test_side_of_the_error_is_told(std: float) -> None:
    wrong = field(std)
    too_sure = std < 1
    histogram = metrics.rank_histogram(wrong.ensemble())
    middle, ends = histogram[DRAWS // 2], histogram[[0, -1]].mean()

    assert (covered(0.9)(wrong) < 0.9) == too_sure
    assert (
        metrics.spread_skill(wrong.truth, wrong.mean, wrong.ensemble().variance) < 1
    ) == too_sure
    assert (metrics.draw_gap_db(wrong.truth, wrong.mean, wrong.ensemble()) < 3.01) == too_sure
    assert (ends > middle) == too_sure  # U-shaped, or a dome


def test_rank_histogram_of_an_exact_sampler_is_flat() -> None:
    exact = field()

    histogram = metrics.rank_histogram(exact.ensemble())

    assert len(histogram) == DRAWS + 1
    # Pearson's test: it rejects a flat histogram once in a thousand times.
    voxels = len(exact.truth)
    assert stats.chisquare(histogram * voxels).pvalue > 0.001


@pytest.mark.parametrize("draws", [4, 8, 40])
def test_nll_of_draws_does_not_depend_on_their_number(draws: int) -> None:
    exact = field()
    few = metrics.ensemble_of(exact.truth, exact.draws[:draws])

    found = metrics.nll_of_draws(exact.truth, few, floor=1e-6)

    assert found == pytest.approx(0.5 * math.log(2 * math.pi * math.e), abs=0.03)


def test_nll_is_that_of_scoringrules(rng: np.random.Generator) -> None:
    truth, mean, std = rng.normal(size=99), rng.normal(size=99), rng.uniform(0.1, 3, 99)
    expected = scoringrules.logs_normal(truth, mean, std).mean()

    assert metrics.nll(truth, mean, std, floor=1e-9) == pytest.approx(expected, rel=1e-10)


def test_certainty_counts_as_the_floor() -> None:
    truth, mean, std = np.ones(3), np.ones(3), np.zeros(3)

    found = metrics.nll(truth, mean, std, floor=0.1)

    assert found == pytest.approx(0.5 * math.log(2 * math.pi * 0.01))


def test_fewer_than_four_draws_have_no_nll(rng: np.random.Generator) -> None:
    kept = metrics.ensemble_of(rng.normal(size=9), rng.normal(size=(3, 9)))

    assert math.isnan(metrics.nll_of_draws(kept.centre, kept, floor=0.1))


@pytest.mark.parametrize("draws", [2, 7])
def test_energy_score_of_a_block_is_the_fair_one_of_scoringrules(
    draws: int, rng: np.random.Generator
) -> None:
    region = rng.random((4, 4, 4)) < 0.7
    voxels = int(region.sum())
    truth, samples = rng.normal(size=voxels), rng.normal(size=(draws, voxels))
    expected = scoringrules.es_ensemble(truth, samples, estimator="fair") / math.sqrt(voxels)

    found = metrics.energy_score(truth, samples, region=region)

    assert found == pytest.approx(float(expected), rel=1e-10)


def test_energy_score_is_the_mean_over_blocks_that_are_half_full(
    rng: np.random.Generator,
) -> None:
    region = np.ones((6, 8, 4), bool)  # the last two planes of voxels fill half a block
    truth, samples = rng.normal(size=region.shape), rng.normal(size=(5, *region.shape))
    parts = [(slice(i, i + 4), slice(j, j + 4), slice(None)) for i in (0, 4) for j in (0, 4)]
    alone = [
        metrics.energy_score(
            truth[part].ravel(), samples[:, *part].reshape(5, -1), region=region[part]
        )
        for part in parts
    ]

    found = metrics.energy_score(truth.ravel(), samples.reshape(5, -1), region=region)

    assert found == pytest.approx(np.mean(alone), rel=1e-12)
    region[5] = False  # now it is a quarter
    rest = metrics.energy_score(truth[region], samples[:, region], region=region)
    assert rest == pytest.approx(np.mean(alone[:2]), rel=1e-12)
    region[1:] = False
    assert math.isnan(metrics.energy_score(truth[region], samples[:, region], region=region))


def test_draws_that_err_alone_are_caught_by_the_energy_score_only() -> None:
    exact, alone = (field(correlated=True, alike=alike) for alike in (True, False))

    energy = [metrics.energy_score(f.truth, f.draws, region=REGION) for f in (exact, alone)]
    crps = [metrics.crps(f.truth, f.draws) for f in (exact, alone)]

    assert energy[1] > 1.03 * energy[0]
    assert crps[1] == pytest.approx(crps[0], rel=0.01)


def test_ause_of_constant_uncertainty_is_the_closed_form() -> None:
    exact = field()
    removed = np.arange(20) / 20
    q = special.ndtri(1 - removed[1:] / 2)  # errors that remain are those below
    oracle = np.sqrt(1 - 2 * q * stats.norm.pdf(q) / (1 - removed[1:]))

    curves = metrics.sparsification(exact.truth, exact.mean, exact.std)

    assert curves.removed == pytest.approx(removed)
    assert curves.remaining == pytest.approx(np.ones(20))
    assert curves.oracle == pytest.approx([1, *oracle], abs=0.01)
    assert metrics.ause(curves) == pytest.approx(0.544, abs=0.005)


def test_uncertainty_that_knows_where_errors_are_has_less_ause() -> None:
    rng = numpy_stream(0, "judge", "sizes")
    sizes = rng.lognormal(0, 0.7, REGION.size)
    truth, mean = sizes * rng.standard_normal(REGION.size), np.zeros(REGION.size)
    errors = np.abs(truth)

    perfect, known, constant, opposite = (
        metrics.ause(metrics.sparsification(truth, mean, std))
        for std in (errors, sizes, np.ones_like(sizes), 1 / sizes)
    )

    assert perfect == 0
    assert 0.1 < known < constant < opposite


def test_ause_does_not_see_the_scale_of_uncertainty(rng: np.random.Generator) -> None:
    truth, mean, std = rng.normal(size=200), np.zeros(200), rng.uniform(1, 2, 200)

    once, thrice = (metrics.sparsification(truth, mean, factor * std) for factor in (1, 3))

    assert metrics.ause(once) == pytest.approx(metrics.ause(thrice), rel=1e-12)


def test_perfect_answer_has_nothing_to_sort() -> None:
    curves = metrics.sparsification(np.ones(30), np.ones(30), np.ones(30))

    assert metrics.ause(curves) == 0
