"""Tests for mriimpute.evaluation.volumes and .tissues: volumes in the mean and by draws."""

import csv
import dataclasses
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from mriimpute import metrics
from mriimpute.evaluation import evaluate
from mriimpute.evaluation.case import TestCase
from mriimpute.evaluation.simulated import find_simulated_scans, read_test_case
from mriimpute.evaluation.tissues import TissueLimits, half_samples, tissue_limits
from mriimpute.evaluation.volumes import MeasuredVolume, measured_tissues, score_volumes

ML = 0.008  # of a voxel of 2 mm


@pytest.fixture
def case(sim: Path) -> TestCase:
    return read_test_case(find_simulated_scans(sim)[0])


def limits_at(*limits: float, halves: tuple[tuple[float, ...], ...] = ()) -> TissueLimits:
    return TissueLimits(
        truth=np.array(limits),
        acquired=np.array(limits),
        half_samples=tuple(map(np.array, halves)),
        missing_share=0.75,
    )


def test_limits_of_the_image_are_those_of_acquired_voxels_alone(case: TestCase) -> None:
    unseen = dataclasses.replace(case, truth=np.where(case.region, case.truth + 9, case.truth))

    one, other = tissue_limits(case), tissue_limits(unseen)

    assert one is not None
    assert other is not None
    values = case.volume.data[case.brain & case.volume.observed]
    np.testing.assert_array_equal(one.acquired, metrics.tissue_thresholds(values))
    np.testing.assert_array_equal(one.acquired, other.acquired)
    np.testing.assert_array_equal(one.half_samples, other.half_samples)
    assert not np.array_equal(one.truth, other.truth)
    assert one.missing_share == pytest.approx(2 / 3, abs=0.05)


@pytest.mark.parametrize("slices", [2, 7, 12, 31])
def test_half_samples_have_one_of_two_neighbours_and_are_balanced(slices: int) -> None:
    halves = np.array(half_samples(slices))

    pairs = halves[:, : slices // 2 * 2].reshape(len(halves), -1, 2)
    assert (pairs.sum(axis=2) == 1).all()
    assert halves[:, slices // 2 * 2 :].all()
    for one, other in combinations(range(pairs.shape[1]), 2):
        found = np.bincount(2 * pairs[:, one, 0] + pairs[:, other, 0], minlength=4)
        assert (found == len(halves) / 4).all()


def test_half_samples_of_a_mean_say_how_uncertain_it_is(rng: np.random.Generator) -> None:
    slices = rng.normal(size=(24, 4000))  # slices, studies

    means = np.stack([slices[half].mean(axis=0) for half in half_samples(24)])

    variance = np.square(means - slices.mean(axis=0)).mean(axis=0)
    assert variance.mean() == pytest.approx(1 / 24, rel=0.05)


def test_volumes_are_voxels_between_the_limits_in_ml(case: TestCase) -> None:
    limits = limits_at(380.0, 450.0)
    mean = case.truth[case.region] + np.float32(30)

    tissues = measured_tissues(case, limits, mean, None)

    for tissue in tissues:
        for image, found in ((case.truth[case.region], tissue.truth), (mean, tissue.mean)):
            voxels = (np.digitize(image, limits.truth) == tissue.label - 1).sum()
            assert found == pytest.approx(ML * voxels)
    assert [tissue.label for tissue in tissues] == [1, 2, 3]
    assert sum(tissue.mean for tissue in tissues) == pytest.approx(ML * case.region.sum())
    assert all(math.isnan(tissue.draws) and math.isnan(tissue.low) for tissue in tissues)


def test_draws_are_pooled_with_the_variance_that_limits_have(
    case: TestCase, rng: np.random.Generator
) -> None:
    limits = limits_at(380.0, 450.0, halves=((370.0, 450.0), (380.0, 440.0)))
    truth = case.truth[case.region]
    draws = truth + rng.normal(0, 25, (5, len(truth))).astype(np.float32)

    (dark, *_) = measured_tissues(case, limits, truth, draws)

    def voxels(limit: float) -> np.ndarray:
        return (draws < limit).sum(axis=1)

    # One half sample has the dark limit of all slices, the other one does not.
    within = 0.75 * np.square(voxels(370.0) - voxels(380.0)) / 2
    expected = metrics.pool(ML * voxels(380.0), ML**2 * within)
    found = (dark.draws, dark.within, dark.between, dark.total, dark.dof, dark.low, dark.high)
    pooled = dataclasses.astuple(expected)
    assert found == pytest.approx((*pooled[:5], *pooled[5]))


def test_exact_draws_cover_volumes_as_often_as_stated(
    case: TestCase, rng: np.random.Generator
) -> None:
    limits = limits_at(380.0, 450.0)
    mean = case.truth[case.region]
    covered = []
    for _ in range(80):
        shared = rng.normal(0, 20, (21, 1))  # all voxels err together, and each alone
        truth, *draws = (mean + shared + rng.normal(0, 10, (21, len(mean)))).astype(np.float32)
        image = np.array(case.truth)
        image[case.region] = truth
        volumes = measured_tissues(
            dataclasses.replace(case, truth=image), limits, mean, np.stack(draws)
        )
        covered.append(score_volumes(volumes).volume_coverage90)

    assert np.mean(covered) == pytest.approx(0.9, abs=0.07)


def test_scores_of_volumes_are_those_by_hand() -> None:
    known = {"kind": "tissue", "between": 1.0}
    one = MeasuredVolume(
        **known,  # type: ignore[arg-type]
        **{"label": 1, "truth": 10.0, "mean": 8.0, "draws": 11.0},  # type: ignore[arg-type]
        **{"within": 2.0, "total": 4.0, "dof": 19 * 2.0**2, "low": 7.5, "high": 14.5},
    )
    other = MeasuredVolume(
        **known,  # type: ignore[arg-type]
        **{"label": 2, "truth": 20.0, "mean": 22.0, "draws": 17.0},  # type: ignore[arg-type]
        **{"within": 0.0, "total": 1.0, "dof": 19.0, "low": 15.3, "high": 18.7},
    )

    scores = score_volumes([one, other])

    assert scores.volume_error_percent == pytest.approx((20 + 10) / 2)
    assert scores.volume_draws_percent == pytest.approx((10 + 15) / 2)
    assert scores.volume_coverage90 == 0.5
    # Of draws alone: 11 +- 1.729 sqrt(2) holds 10, 17 +- 1.729 does not hold 20.
    assert scores.volume_coverage90_draws == 0.5
    assert scores.volume_error_stds == pytest.approx(math.sqrt((0.5**2 + 3**2) / 2))


def test_without_volumes_there_is_no_score(case: TestCase) -> None:
    assert measured_tissues(case, None, case.truth[case.region], None) == ()
    assert all(math.isnan(score) for score in dataclasses.astuple(score_volumes(())))


def test_tissues_that_the_truth_lacks_are_left_out(case: TestCase) -> None:
    tissues = measured_tissues(case, limits_at(-5.0, 400.0), case.truth[case.region], None)

    assert [tissue.label for tissue in tissues] == [2, 3]


def test_off_a_stack_limits_are_certain(case: TestCase) -> None:
    limits = tissue_limits(dataclasses.replace(case, stack=None))

    assert limits is not None
    assert limits.half_samples == ()


def test_volumes_reach_the_table(sim: Path, tmp_path: Path) -> None:
    summary = evaluate(
        sim, tmp_path / "report", methods=["linear", "cross-plane-ridge@scan"], samples=2
    )

    with (tmp_path / "report" / "volumes.tsv").open(newline="") as file:
        plain, *_, drawn = csv.DictReader(file, delimiter="\t")
    assert (plain["method"], plain["kind"], plain["label"]) == ("linear", "tissue", "1")
    assert plain["draws"] == plain["within"] == plain["high"] == ""
    assert drawn["method"] == "cross-plane-ridge@scan"
    assert float(drawn["low"]) < float(drawn["draws"]) < float(drawn["high"])
    within, between, total = (float(drawn[name]) for name in ("within", "between", "total"))
    assert total == pytest.approx(within + 1.5 * between, rel=1e-4)
    error = summary.results[0].tissue_volume_error_percent
    assert summary.methods[0].scores["tissue_volume_error_percent"].mean == error
    assert math.isnan(summary.methods[0].scores["tissue_volume_draws_percent"].mean)
