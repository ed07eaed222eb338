"""Tests for mriimpute.otsu."""

from itertools import combinations

import numpy as np
import pytest
from skimage.filters import threshold_multiotsu, threshold_otsu

from mriimpute.otsu import BINS, otsu_thresholds


def within(values: np.ndarray, limits: tuple[float, ...]) -> float:
    """Returns the sum of squares inside of the classes, those up to a limit in one."""
    of = np.searchsorted(limits, values)
    return sum(((values[of == c] - values[of == c].mean()) ** 2).sum() for c in np.unique(of))


@pytest.mark.parametrize(("classes", "levels"), [(2, 256), (3, 24), (4, 12)])
def test_no_other_classes_vary_less(classes: int, levels: int, rng: np.random.Generator) -> None:
    inner = rng.choice(np.arange(1, BINS - 1), levels - 2, replace=False)
    grey = np.sort([0, *inner, BINS - 1])  # the bin of a value is the value
    values = np.repeat(grey, rng.integers(1, 20, levels)).astype(np.float64)
    naive = {limits: within(values, limits) for limits in combinations(grey[:-1], classes - 1)}

    found = otsu_thresholds(values, classes)

    assert tuple(np.floor(found / ((BINS - 1) / BINS))) == min(naive, key=naive.__getitem__)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_thresholds_are_those_of_scikit_image(dtype: type, rng: np.random.Generator) -> None:
    parts = [rng.normal(mean, 9, 4000) for mean in (0, 70, 100)]
    values = np.concatenate(parts).astype(dtype).reshape(3, 40, 100)

    two, three = otsu_thresholds(values), otsu_thresholds(values, 3)

    np.testing.assert_allclose(two, threshold_otsu(values), rtol=1e-6)
    # Its three classes are summed up in single precision: neighbouring bins are alike to it.
    np.testing.assert_allclose(three, threshold_multiotsu(values, 3), atol=np.ptp(values) / BINS)


def test_of_thresholds_that_are_alike_it_is_the_darkest() -> None:
    bin_width = 10 / BINS

    assert otsu_thresholds(np.array([0.0, 0.0, 10.0])) == pytest.approx([bin_width / 2])
    assert otsu_thresholds(np.array([0.0, 5.0, 10.0]), 3) == pytest.approx(
        [bin_width / 2, 5 + bin_width / 2]
    )


def test_more_classes_than_intensities_leave_some_empty() -> None:
    values = np.array([1.0, 1.0, 2.0])

    limits = otsu_thresholds(values, 3)

    assert len(set(np.digitize(values, limits))) == 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_two_neighbouring_numbers_have_a_threshold_between_them(dtype: type) -> None:
    one = dtype(3.0)
    values = np.array([one, np.nextafter(one, dtype(4.0)), one])

    (threshold,) = otsu_thresholds(values)

    assert one <= threshold <= values[1]
