"""Tests for mriimpute.metrics.tissue."""

import numpy as np
import pytest

from mriimpute import metrics

MEANS = (10.0, 50.0, 90.0)


def brain(rng: np.random.Generator) -> np.ndarray:
    return np.repeat(MEANS, (300, 500, 200)) + rng.uniform(-3, 3, 1000)


def test_limits_lie_between_the_classes(rng: np.random.Generator) -> None:
    limits = metrics.tissue_thresholds(brain(rng))

    assert limits is not None
    assert 12.9 < limits[0] < 47
    assert 52.9 < limits[1] < 87


def limits_of(truth: np.ndarray) -> np.ndarray:
    limits = metrics.tissue_thresholds(truth)
    assert limits is not None
    return limits


def test_truth_against_itself_is_perfect(rng: np.random.Generator) -> None:
    truth = brain(rng)

    assert metrics.tissue_dice(truth, truth, limits_of(truth)) == 1


def test_dice_of_a_class_that_is_half_lost_is_that_by_hand(rng: np.random.Generator) -> None:
    truth = brain(rng)
    image = truth.copy()
    image[900:] = 50  # half of the bright class now counts as middle

    dice = metrics.tissue_dice(truth, image, limits_of(truth))

    assert dice == pytest.approx((1 + 2 * 500 / 1100 + 2 * 100 / 300) / 3)


def test_dice_moves_with_the_intensities(rng: np.random.Generator) -> None:
    truth = brain(rng)
    image = truth + rng.normal(0, 20, 1000)

    plain, scaled = (
        metrics.tissue_dice(f(truth), f(image), limits_of(f(truth)))
        for f in (lambda v: v, lambda v: 8 * v + 1024)
    )

    assert scaled == pytest.approx(plain, rel=0.01)


@pytest.mark.parametrize("values", [[3.0] * 9, [1.0, 2.0] * 5])
def test_fewer_than_three_intensities_are_no_classes(values: list[float]) -> None:
    assert metrics.tissue_thresholds(np.array(values)) is None
