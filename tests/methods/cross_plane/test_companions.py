"""Tests for mriimpute.methods.cross_plane.companions and innovation."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from mriimpute.interpolation import interpolated
from mriimpute.methods import left_out
from mriimpute.methods.base import Imputation
from mriimpute.methods.cross_plane import imputer, innovation, placing, transfer
from mriimpute.methods.cross_plane.companions import Help
from mriimpute.methods.cross_plane.filling import filled_slabs
from mriimpute.methods.cross_plane.hidden_companions import Hidden, slope_of
from mriimpute.methods.cross_plane.imputer import CrossPlane
from mriimpute.methods.cross_plane.innovation import (
    Example,
    InnovationConfig,
    Innovations,
    View,
    fitted,
)
from mriimpute.methods.cross_plane.network import Config, build
from mriimpute.methods.cross_plane.transfer import Transfer
from mriimpute.methods.interpolation import Interpolation
from mriimpute.methods.noise import ErrorSums
from mriimpute.volume import Companion, Volume

SIZE, STEP = 32, 4


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer and smaller steps than an exam takes."""
    short = InnovationConfig(hidden=32, steps=200, batch=512)
    monkeypatch.setattr(innovation, "DEFAULT", short)
    for module in (transfer, placing):
        monkeypatch.setattr(module, "QUICK", InnovationConfig(hidden=16, steps=100, batch=512))


@pytest.fixture
def head(rng: np.random.Generator) -> np.ndarray:
    """A field that is too rough to be interpolated, in a ball."""
    field = ndimage.gaussian_filter(rng.normal(size=(SIZE,) * 3), 1.2)
    field = 1 + 0.3 * field / field.std()
    places = np.indices(field.shape) - (SIZE - 1) / 2
    ball = np.square(places).sum(axis=0) < (0.48 * SIZE) ** 2
    return np.where(ball, field, 0).astype(np.float32)


def sparse(truth: np.ndarray, axis: int = 2) -> Volume:
    observed = np.zeros(truth.shape, bool)
    np.moveaxis(observed, axis, 0)[::STEP] = True
    return Volume(np.where(observed, truth, np.float32(np.nan)), observed, np.eye(4))


def companion(data: np.ndarray) -> Companion:
    return Companion("other", data.astype(np.float32))


def imputed(volume: Volume, *others: Companion) -> Imputation:
    """By a network that interpolates: it has learnt nothing."""
    network = build(Config(channels=4, blocks=1, hidden=4), seed=0)
    factors = {gap: np.ones(gap - 1, np.float32) for gap in (2, 3, 4, 8)}
    ours = CrossPlane(network, factors, device="cpu").accompanied(others)
    return ours.impute(volume, seed=0, case="a")


def error(imputation: Imputation, truth: np.ndarray, volume: Volume) -> float:
    missing = ~volume.observed[:, :, : SIZE - STEP + 1] & (truth > 0)[:, :, : SIZE - STEP + 1]
    miss = (imputation.mean - truth)[:, :, : SIZE - STEP + 1][missing]
    return float(np.sqrt(np.square(miss).mean()))


@pytest.mark.parametrize("axis", [0, 2])
def test_a_companion_of_another_contrast_tells_what_gaps_hold(axis: int, head: np.ndarray) -> None:
    truth = np.moveaxis(head, 2, axis)
    volume = sparse(truth, axis)
    alone = imputed(volume)

    helped = imputed(volume, companion(np.where(truth > 0, 2.5 - truth, 0)))

    missing = ~volume.observed & (truth > 0)
    np.moveaxis(missing, axis, 0)[SIZE - STEP + 1 :] = False
    before, after = (np.square((i.mean - truth)[missing]).mean() for i in (alone, helped))
    assert after < 0.35 * before
    assert helped.quality["companions_gain_db"] > 4
    assert (helped.std[missing] < alone.std[missing]).mean() > 0.9
    assert_array_equal(helped.mean[volume.observed], truth[volume.observed])


def test_what_lies_in_the_same_slices_makes_nobody_sure_of_the_gaps(head: np.ndarray) -> None:
    """A companion that was acquired in the same slices knows of the gaps what lines know."""
    volume, other = sparse(head), np.where(head > 0, 2.5 - head, 0).astype(np.float32)
    there = np.where(volume.observed, other, np.float32(np.nan))
    filled = interpolated(replace(volume, data=there), "linear")
    missing = ~volume.observed & (head > 0)
    missing[..., SIZE - STEP + 1 :] = False

    alone, whole, sparse_too = (
        imputed(volume, *others) for others in ((), (companion(other),), (companion(filled),))
    )

    said = [float(np.square(one.std[missing]).mean()) for one in (alone, whole, sparse_too)]
    assert said[1] < 0.5 * said[0]
    assert said[2] > 0.8 * said[0]
    assert whole.quality["companions_reach"] > 0.6
    assert sparse_too.quality["companions_reach"] < 0.2


def test_two_planes_are_enough_where_companions_saw_the_head_and_are_believed(
    head: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[set[int]] = []

    def spied(*given: Any) -> Any:
        asked.append(given[-1])
        return filled_slabs(*given)

    def disbelieved(
        mean: np.ndarray, variance: np.ndarray, helps: dict[int, Help], *_: Any
    ) -> Any:
        mean += bool(helps)
        return {gap: one.believed(Transfer(0.0, 0.0)) for gap, one in helps.items()}

    monkeypatch.setattr(imputer, "filled_slabs", spied)
    volume, other = sparse(head), np.where(head > 0, 2.5 - head, 0)
    half = np.where(np.arange(SIZE)[:, None, None] < SIZE // 2, other, np.nan)

    imputed(volume, companion(other))
    imputed(volume, companion(half))
    imputed(volume, replace(companion(other), crosses=False))
    monkeypatch.setattr(imputer, "helped", disbelieved)
    alone, vain = imputed(volume), imputed(volume, companion(other))

    assert asked == [{STEP}, set(), set(), set(), {STEP}, set()]
    assert_array_equal(vain.mean, alone.mean)
    assert_array_equal(vain.std, alone.std)


def test_slices_that_were_left_out_have_the_last_word() -> None:
    """With half of the answers, a quarter of the squared error that they took away is left."""
    half = np.full(3, 0.5, np.float32)
    network = Innovations(1, 4)
    inside = Help(network, half, half, half, ErrorSums(4), 2.0, (2.0,), 4)

    believed = inside.believed(Transfer(0.5, 1.0))

    assert_allclose(believed.shrinkage, 0.25)
    assert_allclose(np.square(believed.ratio), 1 - 0.25 * 0.75)
    assert inside.believed(None) is inside
    assert_allclose(inside.believed(Transfer(1.0, 2.0)).ratio, half)
    assert not inside.believed(Transfer(0.0, 0.0)).shrinkage.any()


@pytest.mark.parametrize("is_thick", [False, True])
def test_a_scan_that_was_interpolated_across_slices_believes_less(
    is_thick: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second slice is a mean of its neighbours: it holds nothing that a companion saw."""
    for module in (transfer, left_out):
        monkeypatch.setattr(module, "FEWEST_PIXELS", 200)
    field = ndimage.gaussian_filter(rng.normal(size=(40, 40, 41)), 1.2)
    places = np.indices(field.shape).T - np.array([19.5, 19.5, 20])
    ball = (np.square(places).sum(axis=-1) < 19**2).T
    field = 1 + 0.3 * field / field.std()
    truth = np.where(ball, field, 0).astype(np.float32)
    if is_thick:
        truth[..., 4::8] = 0.5 * (truth[..., :-8:8] + truth[..., 8::8])
    volume = sparse(truth)
    volume = Volume(volume.data, volume.observed, np.diag([2.0, 2, 2, 1]))

    quality = imputed(volume, companion(np.where(ball, 2.5 - field, 0))).quality

    assert quality["companions_believed"] == pytest.approx(0 if is_thick else 1, abs=0.1)


def test_answers_twice_too_large_have_slope_one_half(rng: np.random.Generator) -> None:
    shape = (2, 9, 8)
    wanted, nothing = rng.normal(size=shape).astype(np.float32), np.zeros(shape, np.float32)
    view = View.of(nothing, nothing[None], nothing[None], 4)
    hidden = Hidden(Example(view, wanted, np.ones(shape, bool)), nothing + 1)

    class Twice(Innovations):
        def of(self, view: View, where: np.ndarray, *, only: int | None = None) -> np.ndarray:
            return np.where(where, 2 * wanted, 0)

    slope, gain_db, pixels = slope_of(Twice(1, 4), [hidden], 4)

    assert slope == pytest.approx(0.5)
    assert gain_db == 0  # nothing is left, and there is no decibel of that
    assert pixels == 2 * 2 * 8  # two gaps of two images


def test_what_has_nothing_to_do_with_a_head_changes_little(
    head: np.ndarray, rng: np.random.Generator
) -> None:
    volume = sparse(head)
    alone = error(imputed(volume), head, volume)

    noise = error(imputed(volume, companion(rng.random(head.shape))), head, volume)
    upside_down = error(imputed(volume, companion(head[:, ::-1, ::-1])), head, volume)

    assert max(noise, upside_down) < 1.01 * alone  # 0.09 dB


def test_a_companion_that_saw_nothing_changes_nothing(head: np.ndarray) -> None:
    volume = sparse(head)

    alone, blind = imputed(volume), imputed(volume, companion(np.full(head.shape, np.nan)))

    assert_array_equal(blind.mean, alone.mean)
    assert_array_equal(blind.std, alone.std)
    assert_array_equal(blind.drawn(3), alone.drawn(3))
    assert blind.quality["companions"] == [{"gain_db": 0.0}]


def test_gaps_that_are_not_known_are_told_once(
    head: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    volume = sparse(head)
    observed = volume.observed.copy()
    observed[:, :, 8:24] = False
    volume = Volume(np.where(observed, head, np.float32(np.nan)), observed, np.eye(4))

    imputed(volume, companion(np.full(head.shape, np.nan)))

    assert caplog.text.count("the model knows gaps of up to 12 voxels, not 20") == 1


def test_what_is_no_stack_is_interpolated_and_says_that_nothing_was_gained(
    head: np.ndarray, rng: np.random.Generator
) -> None:
    observed = rng.random(head.shape) < 0.5
    volume = Volume(np.where(observed, head, np.float32(np.nan)), observed, np.eye(4))

    alone, helped = imputed(volume), imputed(volume, companion(head))

    assert_array_equal(helped.mean, alone.mean)
    assert helped.quality["companions"] == [{"gain_db": 0.0}]


def test_where_a_companion_saw_nothing_the_scan_is_as_without_it(head: np.ndarray) -> None:
    volume, seen = sparse(head), head.copy()
    seen[20:] = np.nan

    alone, helped = imputed(volume), imputed(volume, companion(seen))

    assert_array_equal(helped.mean[20:], alone.mean[20:])
    assert (helped.mean[:18] != alone.mean[:18]).any()


@pytest.mark.parametrize(("offset", "tolerance"), [(0.0, 1e-4), (-3.0, 0.15)])
def test_units_of_scan_and_companion_do_not_matter(
    offset: float, tolerance: float, head: np.ndarray
) -> None:
    volume, other = sparse(head), np.where(head > 0, 2.5 - head, 0)
    scaled = Volume(8 * volume.data + np.float32(offset), volume.observed, volume.affine)

    first = imputed(volume, companion(other))
    second = imputed(scaled, companion(512 * other - 20 * offset))

    # Rounding is carried on by each step of learning: to a hundredth of the range of 8 to 16.
    assert_allclose(second.mean, 8 * first.mean + offset, atol=tolerance)
    assert_allclose(second.std, 8 * first.std, atol=tolerance)


def test_the_better_one_of_two_companions_counts_for_more(
    head: np.ndarray, rng: np.random.Generator
) -> None:
    volume, other = sparse(head), np.where(head > 0, 2.5 - head, 0)
    blurred = other + rng.normal(0, 0.3, head.shape)

    worse = error(imputed(volume, companion(blurred)), head, volume)
    both = imputed(volume, companion(blurred), companion(other))

    assert error(both, head, volume) < worse
    first, second = (each["gain_db"] for each in both.quality["companions"])
    assert first + 1 < second < both.quality["companions_gain_db"]


def test_a_linear_relation_is_found(rng: np.random.Generator) -> None:
    shape = (6, 21, 24)
    other = ndimage.gaussian_filter(rng.normal(size=shape), (0, 1, 1)).astype(np.float32)
    view = View(
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        other[None],
        other[None],
        np.ones((1, *shape), bool),
        4,
    )
    example = Example(view, -0.4 * other, np.ones(shape, bool))

    network = fitted([example], seed=0, case="a")

    assert network is not None
    where = rng.random(shape) < 0.7
    found, wanted = network.of(view, where)[where], -0.4 * other[where]
    assert np.square(found - wanted).mean() < 0.05 * np.square(wanted).mean()


def test_pixels_are_asked_for_alone(rng: np.random.Generator) -> None:
    """What is said of a pixel depends on no other that is asked for, nor on batches."""
    shape = (3, 13, 11)
    filled, other, told = rng.normal(size=(3, *shape)).astype(np.float32)
    view = View.of(filled, other[None], told[None], 4)
    everywhere = np.ones(shape, bool)
    network = fitted([Example(view, other - told, everywhere)], seed=0, case="a")
    assert network is not None
    some = rng.random(shape) < 0.3

    found = network.of(view, some)

    assert_allclose(found[some], network.of(view, everywhere)[some], atol=1e-6)
    assert not found[~some].any()


def test_the_placing_that_fits_is_found_and_headers_are_kept_where_none_does(
    head: np.ndarray, rng: np.random.Generator
) -> None:
    volume, other = sparse(head), np.where(head > 0, 2.5 - head, 0)
    network = build(Config(channels=4, blocks=1, hidden=4), seed=0)
    ours = CrossPlane(network, {4: np.ones(3, np.float32)}, device="cpu")
    off, right = companion(np.roll(other, 2, axis=0)), companion(other)
    noise = [companion(rng.random(head.shape)) for _ in range(2)]

    assert ours.placed_best(volume, [off, right], seed=0, case="a") == 1
    assert ours.placed_best(volume, [right, off], seed=0, case="a") == 0
    assert ours.placed_best(volume, noise, seed=0, case="a") == 0


def test_nothing_to_learn_is_nothing(rng: np.random.Generator) -> None:
    shape = (2, 9, 9)
    zero, seen = np.zeros(shape, np.float32), np.ones((1, *shape), bool)
    view = View(zero, zero, zero[None], zero[None], seen, 4)

    assert fitted([Example(view, zero, np.ones(shape, bool))], seed=0, case="a") is None
    assert fitted([Example(view, zero, np.zeros(shape, bool))], seed=0, case="a") is None


def test_other_methods_say_that_they_use_none(head: np.ndarray) -> None:
    with pytest.raises(ValueError, match="linear uses no companions"):
        Interpolation("linear").accompanied([companion(head)])
