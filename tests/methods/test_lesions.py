"""What the weights of the package make of lesions: on a slice, and between two."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import ndimage

from mriimpute.methods.base import Imputation, Imputer
from mriimpute.methods.registry import DEFAULT, load_imputer
from mriimpute.volume import Volume

GAP = 6
CONTRAST = 300.0  # of a lesion; tissue is at 600, air at 0


@pytest.fixture(scope="module")
def ours() -> Imputer:
    return load_imputer(DEFAULT, device="cpu")


@pytest.fixture
def head(rng: np.random.Generator) -> np.ndarray:
    """A ball of smooth tissue with a little texture."""
    shape = (40, 40, 6 * GAP + 1)
    texture = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    middle = (np.array(shape) - 1) / 2
    radii = (np.indices(shape) - middle[:, None, None, None]) / (middle + 2)[:, None, None, None]
    inside = np.square(radii).sum(axis=0) < 1
    return np.where(inside, 600 + 100 * texture, 0).astype(np.float32)


def with_lesion(head: np.ndarray, k: int, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the head with a bright ball centred in slice k, and where that lies."""
    i, j, along = np.indices(head.shape)
    ball = (i - 20) ** 2 + (j - 18) ** 2 + (along - k) ** 2 <= radius**2
    return np.where(ball, head + np.float32(CONTRAST), head), ball


def impute(ours: Imputer, truth: np.ndarray) -> Imputation:
    observed = np.zeros(truth.shape, bool)
    observed[..., ::GAP] = True
    data = np.where(observed, truth, np.float32(np.nan))
    volume = Volume(data, observed, np.eye(4))
    return ours.impute(volume, seed=0, case="a")


def test_a_lesion_between_slices_leaves_no_false_structure(
    ours: Imputer, head: np.ndarray
) -> None:
    hidden, ball = with_lesion(head, k=3 * GAP + 3, radius=2.5)
    assert not ball[..., ::GAP].any()

    without, unseen = impute(ours, head), impute(ours, hidden)

    assert_array_equal(unseen.mean, without.mean)
    assert without.std is not None
    around = ndimage.binary_dilation(ball, iterations=3)
    change = np.abs(without.mean - head)[around].max()
    assert change < 0.25 * CONTRAST  # nothing that could be taken for a lesion


def test_a_lesion_on_a_slice_survives_bit_for_bit_and_ends_in_the_gaps_beside_it(
    ours: Imputer, head: np.ndarray
) -> None:
    seen, _ = with_lesion(head, k=3 * GAP, radius=4.0)

    before, after = impute(ours, head), impute(ours, seen)

    assert_array_equal(after.mean[..., ::GAP], seen[..., ::GAP])
    grown = (after.mean - before.mean)[20, 18]  # along the slice axis, through its middle
    assert grown[3 * GAP] == pytest.approx(CONTRAST, rel=0.01)
    assert (grown[[3 * GAP - 1, 3 * GAP + 1]] > 0.5 * CONTRAST).all()
    far = np.r_[0 : 2 * GAP, 4 * GAP + 1 : len(grown)]
    assert np.abs(grown[far]).max() < 0.1 * CONTRAST
    assert (after.mean - before.mean).max() < 1.15 * CONTRAST  # no overshoot


def test_the_spread_grows_where_a_lesion_may_end(ours: Imputer, head: np.ndarray) -> None:
    seen, ball = with_lesion(head, k=3 * GAP, radius=4.0)

    before, after = impute(ours, head), impute(ours, seen)

    assert before.std is not None
    assert after.std is not None
    here = ball.copy()
    here[..., ::GAP] = False
    assert after.std[here].mean() > 1.5 * before.std[here].mean()
    error = np.abs(after.mean - seen)[here]
    assert (error < 3 * after.std[here]).mean() > 0.8
