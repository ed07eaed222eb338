"""Tests for mriimpute.methods.deep_image_prior.imputer."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mriimpute.methods.base import Imputation
from mriimpute.methods.deep_image_prior.fit import PriorConfig, Restored, deep_image_prior
from mriimpute.methods.deep_image_prior.imputer import DeepImagePrior, held_out_blocks
from mriimpute.volume import Volume

TINY = PriorConfig(steps=8, levels=1, channels=4, latents=2, average=0.5, patience=100)


def waves(*shape: int) -> np.ndarray:
    i, j, k = np.indices(shape)
    return (np.sin(i / 2) + np.cos(j / 3 + k / 2)).astype(np.float32)


def stack(axis: int = 2, step: int = 3) -> Volume:
    data = waves(4, 5, 7)
    observed = np.zeros(data.shape, bool)
    np.moveaxis(observed, axis, 0)[::step] = True
    return Volume(np.where(observed, data, np.float32(np.nan)), observed, np.eye(4))


def imputed(volume: Volume, config: PriorConfig = TINY, *, seed: int = 0) -> Imputation:
    return DeepImagePrior(config).impute(volume, seed=seed, case="a")


def test_planes_of_the_direction_with_fewer_of_them_are_fitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fitted, plain = [], DeepImagePrior._fitted

    def watched(self: DeepImagePrior, y: np.ndarray, *rest: Any) -> Restored:
        fitted.append(y.shape)
        return plain(self, y, *rest)

    monkeypatch.setattr(DeepImagePrior, "_fitted", watched)

    imputed(stack(axis=2))  # of 4 x 5 x 7 voxels
    one = list(fitted)
    DeepImagePrior(TINY, directions=2).impute(stack(axis=2), seed=0, case="a")

    assert one == [(5, 7)] * 4
    assert fitted == one * 2 + [(4, 7)] * 5


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_acquired_voxels_come_back_bit_for_bit(axis: int) -> None:
    volume = stack(axis)

    mean = imputed(volume).mean

    assert_array_equal(mean[volume.observed], volume.data[volume.observed])
    assert np.isfinite(mean).all()


def test_plane_is_begun_again_where_a_decoder_leads_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every first attempt is dead; the second one of each plane is kept."""
    seeds: list[int] = []
    plain = deep_image_prior

    def first_is_dead(*args: Any, seed: int, **rest: Any) -> Restored:
        seeds.append(seed)
        fit = plain(*args, seed=seed, **rest)
        dead = len(seeds) % 2 == 1
        return replace(fit, missed=1.0 if dead else 0.1, stopped_at=1 if dead else 5)

    monkeypatch.setattr(
        "mriimpute.methods.deep_image_prior.imputer.deep_image_prior", first_is_dead
    )

    trace = imputed(stack()).trace

    assert len(set(seeds)) == 8  # of four planes
    assert trace is not None
    assert trace.stopped_at == 5


def test_smooth_volume_is_restored_between_its_slices() -> None:
    volume, truth = stack(), waves(4, 5, 7)
    config = replace(TINY, steps=40, rate=1e-2, average=0.9)

    mean = DeepImagePrior(config, directions=2).impute(volume, seed=0, case="a").mean

    missing = ~volume.observed
    assert np.square(mean - truth)[missing].mean() < 0.5 * truth.var()


def test_unobserved_values_change_no_bit() -> None:
    volume = stack()
    rubbish = np.where(volume.observed, volume.data, np.float32(1e6))

    assert_array_equal(
        imputed(Volume(rubbish, volume.observed, np.eye(4))).mean, imputed(volume).mean
    )


def test_scan_of_twice_the_intensity_is_imputed_with_exactly_twice_the_intensity() -> None:
    volume = stack()

    other = imputed(Volume(4 * volume.data, volume.observed, np.eye(4)))

    assert_array_equal(other.mean, 4 * imputed(volume).mean)


def test_gain_and_offset_of_the_scan_pass_through() -> None:
    """As far as one fit is like another: further steps would amplify the last digit."""
    volume = stack()

    other = imputed(Volume(3 * volume.data + np.float32(50), volume.observed, np.eye(4)))

    assert_allclose(other.mean, 3 * imputed(volume).mean + 50, atol=0.02)


def test_one_seed_gives_one_volume() -> None:
    volume = stack()

    first, again, other = imputed(volume), imputed(volume), imputed(volume, seed=1)

    assert_array_equal(first.mean, again.mean)
    assert first.trace == again.trace
    assert not np.array_equal(first.mean, other.mean)


def test_trace_tells_the_losses_and_when_fitting_stopped() -> None:
    trace = imputed(stack(), replace(TINY, steps=45)).trace

    assert trace is not None
    assert len(trace.fitted) == len(trace.held_out) == 4  # of steps 10, 20, 30 and 40
    assert trace.every == 10
    assert trace.fitted[-1] < trace.fitted[0]
    assert 1 <= trace.stopped_at <= 45


def test_pattern_that_is_no_stack_is_completed(rng: np.random.Generator) -> None:
    data = waves(4, 4, 4)
    observed = rng.random(data.shape) < 0.5
    observed[2] = False  # a plane without anything acquired
    volume = Volume(np.where(observed, data, np.float32(np.nan)), observed, np.eye(4))

    mean = imputed(volume).mean

    assert np.isfinite(mean).all()
    assert_array_equal(mean[observed], data[observed])


def test_blocks_are_as_wide_as_a_gap_in_mm_and_lie_in_slices() -> None:
    observed = np.zeros((40, 40, 9), bool)
    observed[:, :, ::4] = True
    volume = Volume(np.zeros(observed.shape, np.float32), observed, np.diag([1.0, 3.0, 1.0, 1.0]))

    blocks = held_out_blocks(volume, fraction=0.01, seed=1)

    lengths = {}
    for axis in (0, 1):
        padded = np.pad(blocks, [(1, 1) if a == axis else (0, 0) for a in range(3)])
        edges = np.diff(padded.astype(np.int8), axis=axis)
        lengths[axis] = blocks.sum() / (edges == 1).sum()
    assert not blocks[~observed].any()
    assert 2.8 < lengths[0] < 3.3  # blocks may touch, or be cut at the border
    assert lengths[1] < 1.2


def test_share_of_the_acquired_voxels_is_held_out() -> None:
    observed = np.zeros((60, 60, 30), bool)
    observed[:, :, ::3] = True
    volume = Volume(np.zeros(observed.shape, np.float32), observed, np.eye(4))

    blocks = held_out_blocks(volume, fraction=0.08, seed=0)

    assert_allclose(blocks.sum() / observed.sum(), 0.08, atol=0.01)
    assert not np.array_equal(blocks, held_out_blocks(volume, fraction=0.08, seed=1))
