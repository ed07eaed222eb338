"""Tests for mriimpute.methods.cross_plane.calibration."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import ndimage
from scipy.interpolate import PchipInterpolator, make_interp_spline

from mriimpute.cohort.slices import SliceScan
from mriimpute.methods.cross_plane.calibration import LinePredictor
from mriimpute.methods.cross_plane.imputer import CrossPlane
from mriimpute.methods.cross_plane.network import Config, build
from mriimpute.methods.registry import DEFAULT, load_imputer
from mriimpute.methods.self_calibration import hidden_score, without_calibration_slices

FACTORS = {3: np.ones(2, np.float32), 6: np.full(5, 2, np.float32)}


def scan(rng: np.random.Generator, blur: float = 1.0, count: int = 20) -> SliceScan:
    noise = rng.normal(size=(count, 60, 54))
    slices = 0.5 + ndimage.gaussian_filter(noise, (0, blur, blur), mode="wrap") * blur * 0.5
    return SliceScan("a", slices.astype(np.float16), (3,), (1, 1), (1.0, 1.0), 0.0)


def untrained(factors: dict[int, np.ndarray] = FACTORS) -> LinePredictor:
    """One that interpolates linearly."""
    network = build(Config(channels=4, blocks=1, hidden=4), seed=0).eval()
    return LinePredictor.of(network.requires_grad_(requires_grad=False), factors, 0.0)


def test_a_network_that_knows_no_more_than_noise_is_not_trusted(
    rng: np.random.Generator, generator: torch.Generator
) -> None:
    one = untrained()
    with torch.no_grad():
        for name, parameter in one.network.named_parameters():
            if name.startswith("mean"):
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))

    probed = one.self_calibration(scan(rng), 3)

    assert (probed.shrinkage < 0.2).all()


def test_how_errors_go_together_is_measured_away_from_the_surface_of_the_head(
    rng: np.random.Generator,
) -> None:
    """A head of smooth tissue whose rim, 8 mm of it, is rough."""
    depth = ndimage.distance_transform_edt(np.pad(np.ones((58, 52)), 1))
    rough = rng.normal(size=(12, 60, 54)) * ((depth > 0) & (depth <= 8))
    smooth = ndimage.gaussian_filter(rng.normal(size=(12, 60, 54)), (0, 3, 3)) * 3
    slices = np.where(depth > 0, 5 + smooth + rough, 0).astype(np.float16)

    probed = untrained().self_calibration(SliceScan("a", slices, (3,), (1, 1), (1.0, 1.0), 1.0), 3)

    deep, anywhere = probed.inner.correlation(), probed.errors.correlation()
    assert deep is not None
    assert anywhere is not None
    assert probed.inner.fewest() < probed.errors.fewest()
    grain = [np.trace(one.parts[0, 0]) / 2 for one in (deep, anywhere)]
    assert grain[0] < 0.1 < 0.5 < grain[1]


def test_smooth_slices_are_imputed_better_when_trust_is_measured(
    rng: np.random.Generator,
) -> None:
    loaded = load_imputer(DEFAULT, device="cpu")
    assert isinstance(loaded, CrossPlane)
    one = LinePredictor.of(loaded.network, loaded.factors, 0.0)
    smooth = scan(rng, blur=3.0)

    shrinkage = one.self_calibration(smooth, 3).shrinkage

    blended = plain = 0.0
    for p in one.predictions(smooth, 3):
        ours = p.pchip + shrinkage[:, None, None] * (p.mean - p.pchip)
        blended += float(np.square(ours - p.target).sum())
        plain += min(float(np.square(x - p.target).sum()) for x in (p.mean, p.pchip))
    assert blended <= plain * 1.001  # never worse than the network, nor than interpolation


def test_what_a_scan_says_is_used_for_its_gap_alone(rng: np.random.Generator) -> None:
    one = untrained()
    probed = one.self_calibration(scan(rng), 3)

    ours = one.calibrated({3: probed})

    assert_allclose(ours.factor(3), probed.errors.deviation(), rtol=1e-5)
    assert_allclose(ours.factor(6), 2.0)
    assert (ours.shrinkage(6) == 1).all()
    assert ours.widest == one.widest


def test_a_gap_between_known_ones_is_calibrated_like_the_nearest() -> None:
    assert_allclose(untrained().factor(5), 2.0)
    assert_allclose(untrained().factor(4), 1.0)
    assert [untrained().knows(gap) for gap in (1, 2, 9, 10)] == [False, True, True, False]
    assert not untrained({}).knows(2)


def test_no_slice_is_both_learnt_from_and_measured_on(rng: np.random.Generator) -> None:
    whole = scan(rng, count=20)

    rest = without_calibration_slices(whole)

    assert rest is not None
    kept = {part.tobytes() for part in rest.slices}
    seen = {part.tobytes() for part in whole.slices[::3]}  # one of three, at most eight
    assert not kept & seen
    assert len(kept) + len(seen) == 20
    assert without_calibration_slices(scan(rng, count=1)) is None


def test_a_score_counts_hidden_pixels_of_the_head_alone(rng: np.random.Generator) -> None:
    """Against a loop over slices, of which the lower half is air."""
    slices = np.asarray(scan(rng, blur=1.5).slices, np.float64)
    slices[:, 30:] = 0.0
    head = SliceScan("a", (1 + slices).astype(np.float16), (3,), (1, 1), (1.0, 1.0), 1.3)

    score = untrained().self_calibration(head, 3).score

    squares, pixels = np.zeros(2), 0
    for one in np.asarray(head.slices, np.float32)[::3]:
        for image in (one, one.T):
            lines = np.arange(0, len(image), 3)
            hidden = [n for n in range(lines[-1]) if n % 3]
            linear = make_interp_spline(lines, image[lines], k=1)(hidden)
            pchip = PchipInterpolator(lines, image[lines])(hidden)
            counted = linear > 1.3
            squares += [np.square(by - image[hidden])[counted].sum() for by in (linear, pchip)]
            pixels += int(counted.sum())
    assert score.pixels == pixels
    # An untrained network is linear: nothing is gained over the better of both, unless by a mean.
    assert 0 <= score.gain_db < 0.3
    assert squares.min() > 0


def test_ninety_per_cent_intervals_cover_so_many_gaussian_errors(rng: np.random.Generator) -> None:
    white = rng.normal(size=100_000).astype(np.float32)

    score = hidden_score(1.0, [2.0, 4.0], [white[:50_000], white[50_000:]])

    assert score.coverage == pytest.approx(0.9, abs=0.005)
    assert score.gain_db == pytest.approx(3.01, abs=0.01)
    assert score.pixels == len(white)


def test_a_score_without_errors_is_not_known() -> None:
    score = hidden_score(0.0, [0.0, 0.0], [])

    assert np.isnan([score.gain_db, score.coverage]).all()
