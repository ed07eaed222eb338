"""Tests for mriimpute.registration."""

import numpy as np
import pytest
from scipy import ndimage

from mriimpute.geometry import resample, rotation, transform
from mriimpute.registration import motion_between

SHAPE = (40, 48, 40)
AFFINE = np.array([[4.0, 0, 0, -80], [0, 4, 0, -96], [0, 0, 4, -80], [0, 0, 0, 1]])


@pytest.fixture
def head(rng: np.random.Generator) -> np.ndarray:
    """Three tissues in an egg."""
    ras = transform(AFFINE, np.moveaxis(np.indices(SHAPE) * 1.0, 0, -1))
    inside = ((ras / [62.0, 80.0, 66.0]) ** 2).sum(axis=-1) < 1
    folds = ndimage.gaussian_filter(rng.normal(size=SHAPE), 2.0)
    return inside * (1 + np.digitize(folds, np.quantile(folds, [0.3, 0.6])))


def motion(turn_deg: tuple[float, float, float], shift_mm: tuple[float, ...]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(turn_deg), shift_mm
    return matrix


def contrast(tissues: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    return np.asarray(levels, np.float32)[tissues]


def test_a_planted_motion_is_found_across_contrasts(head: np.ndarray) -> None:
    t1, t2 = contrast(head, (0, 100, 200, 300)), contrast(head, (0, 400, 150, 250))
    planted = motion((4.0, -3.0, 5.0), (3.0, -4.0, 2.0))
    other = np.diag([-3.0, 3.0, 3.0, 1.0])
    other[:3, 3] = [90.0, -110.0, -90.0]
    moved = resample(
        t2, AFFINE, to_shape=(60, 74, 60), to_affine=np.linalg.inv(planted) @ other, order=1
    )

    found = motion_between(t1, AFFINE, moved, other)

    places = transform(AFFINE, np.argwhere(head > 0).astype(np.float64))
    error = np.linalg.norm(transform(found.matrix, places) - transform(planted, places), axis=1)
    assert error.max() < 1.0  # of voxels of 4 mm
    assert found.shift_mm == pytest.approx(np.sqrt(29), abs=1.0)
    assert found.turn_deg == pytest.approx(7.0, abs=0.7)


def test_headers_that_are_right_stay(head: np.ndarray) -> None:
    t1, t2 = contrast(head, (0, 100, 200, 300)), contrast(head, (0, 400, 150, 250))

    found = motion_between(t1, AFFINE, t2, AFFINE)

    assert found.shift_mm < 0.1
    assert found.turn_deg < 0.1


def test_scans_that_do_not_overlap_are_named(head: np.ndarray) -> None:
    t1, far = contrast(head, (0, 100, 200, 300)), AFFINE.copy()
    far[0, 3] += 4000

    with pytest.raises(ValueError, match="do not overlap"):
        motion_between(t1, AFFINE, t1, far)
