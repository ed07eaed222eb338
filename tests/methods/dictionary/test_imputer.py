"""Tests for mriimpute.methods.dictionary.imputer."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mriimpute.interpolation import interpolated
from mriimpute.methods.base import Imputation
from mriimpute.methods.dictionary.imputer import DictionaryImputer
from mriimpute.methods.dictionary.learning import DictionaryConfig
from mriimpute.volume import Volume

TINY = DictionaryConfig(atoms=12, sparsity=3, iterations=3, kappa=0.1, shrinkage=0.01)


def checks(*shape: int) -> np.ndarray:
    """Bars two voxels wide along each axis: a texture that interpolation cannot know."""
    i, j, k = np.indices(shape)
    return (2.0 + (i // 2 % 2) + (j // 2 % 2) + (k // 2 % 2)).astype(np.float32)


def stack(axis: int = 2, shape: tuple[int, int, int] = (12, 13, 14), step: int = 3) -> Volume:
    data = checks(*shape)
    observed = np.zeros(shape, bool)
    np.moveaxis(observed, axis, 0)[::step] = True
    return Volume(np.where(observed, data, np.float32(np.nan)), observed, np.eye(4))


def imputed(volume: Volume, *, seed: int = 0) -> Imputation:
    imputer = DictionaryImputer(TINY, examples=200)
    return imputer.impute(volume, seed=seed, case="a")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_acquired_voxels_come_back_bit_for_bit(axis: int) -> None:
    volume = stack(axis)

    mean = imputed(volume).mean

    assert_array_equal(mean[volume.observed], volume.data[volume.observed])
    assert np.isfinite(mean).all()


def test_texture_of_slices_is_found_again_between_them() -> None:
    volume, truth = stack(), checks(12, 13, 14)
    between = ~volume.observed
    between[:, :, 13] = False  # beyond the last slice

    errors = [
        np.square(mean - truth)[between].mean()
        for mean in (imputed(volume).mean, interpolated(volume, "linear"))
    ]

    assert errors[0] < 0.7 * errors[1]


def test_unobserved_values_change_no_bit() -> None:
    volume = stack()
    rubbish = np.where(volume.observed, volume.data, np.float32(1e6))

    assert_array_equal(
        imputed(Volume(rubbish, volume.observed, np.eye(4))).mean, imputed(volume).mean
    )


def test_gain_and_offset_of_the_scan_pass_through() -> None:
    volume = stack()

    other = imputed(Volume(4 * volume.data + np.float32(64), volume.observed, np.eye(4)))

    assert_allclose(other.mean, 4 * imputed(volume).mean + 64, atol=0.02)


def test_one_seed_gives_one_volume() -> None:
    volume = stack()

    first, again, other = imputed(volume), imputed(volume), imputed(volume, seed=1)

    assert_array_equal(first.mean, again.mean)
    assert not np.array_equal(first.mean, other.mean)


def test_gap_wider_than_a_patch_is_bridged() -> None:
    volume = stack(0, (27, 8, 9), step=13)

    mean = imputed(volume).mean

    assert np.isfinite(mean).all()
    assert volume.data[volume.observed].min() - 2 < mean.min()
    assert mean.max() < volume.data[volume.observed].max() + 2


def test_pattern_that_is_no_stack_is_completed(rng: np.random.Generator) -> None:
    data = checks(12, 12, 12)
    observed = rng.random(data.shape) < 0.5
    volume = Volume(np.where(observed, data, np.float32(np.nan)), observed, np.eye(4))

    mean = imputed(volume).mean

    error, linear = (
        np.square(x - data)[~observed].mean() for x in (mean, interpolated(volume, "linear"))
    )
    assert error < linear


def test_constant_scan_stays_constant() -> None:
    volume = stack()
    flat = np.where(volume.observed, np.float32(7), np.float32(np.nan))

    mean = imputed(Volume(flat, volume.observed, np.eye(4))).mean

    assert_allclose(mean, 7, atol=1e-5)


def test_slices_of_finer_pixels_stand_in_at_the_distance_of_the_planes() -> None:
    """Pixels half as long as the steps between planes: every second one stands in."""
    coarse = np.repeat(checks(12, 12, 14), 2, axis=0)
    observed = np.zeros(coarse.shape, bool)
    observed[:, :, ::3] = True
    volume = Volume(
        np.where(observed, coarse, np.float32(np.nan)), observed, np.diag([0.5, 1.0, 1.0, 1.0])
    )
    between = ~observed
    between[:, :, 13] = False

    error, linear = (
        np.square(x - coarse)[between].mean()
        for x in (imputed(volume).mean, interpolated(volume, "linear"))
    )

    assert error < 0.8 * linear
