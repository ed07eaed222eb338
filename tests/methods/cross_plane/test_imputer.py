"""Tests for mriimpute.methods.cross_plane.imputer."""

import dataclasses
import json
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from mriimpute.checkpoint import save
from mriimpute.errors import CheckpointError
from mriimpute.interpolation import interpolated
from mriimpute.methods import left_out
from mriimpute.methods.cross_plane import imputer as cross_plane
from mriimpute.methods.cross_plane.adapt import adapted
from mriimpute.methods.cross_plane.imputer import CrossPlane
from mriimpute.methods.cross_plane.network import Config, build
from mriimpute.methods.registry import load_imputer
from mriimpute.progress import silent
from mriimpute.seeds import stream
from mriimpute.training import train
from mriimpute.volume import Volume

TINY = Config(channels=4, blocks=1, hidden=4)


def imputer(gaps: tuple[int, ...] = (2, 3)) -> CrossPlane:
    """One whose parameters are random, so that everything matters."""
    network, generator = build(TINY, seed=0), stream(0, "test")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    factors = {gap: np.ones(gap - 1, np.float32) for gap in gaps}
    return CrossPlane(network, factors, device="cpu")


def isotropic(rng: np.random.Generator, size: int = 16) -> np.ndarray:
    """A random field that looks alike in every plane."""
    noise = rng.normal(size=(size, size, size))
    return (100 + 400 * ndimage.gaussian_filter(noise, 1.5)).astype(np.float32)


def sparse(truth: np.ndarray, axis: int = 2, step: int = 3) -> Volume:
    observed = np.zeros(truth.shape, bool)
    np.moveaxis(observed, axis, 0)[::step] = True
    return Volume(np.where(observed, truth, np.float32(np.nan)), observed, np.eye(4))


def run(volume: Volume, ours: CrossPlane | None = None):  # noqa: ANN201
    return (ours or imputer()).impute(volume, seed=0, case="a")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_acquired_voxels_keep_every_bit(axis: int, rng: np.random.Generator) -> None:
    volume = sparse(isotropic(rng), axis)

    imputed = run(volume)

    seen = volume.observed
    assert imputed.draw is not None
    assert imputed.std is not None
    assert_array_equal(imputed.mean[seen], volume.data[seen])
    assert_array_equal(imputed.draw(3)[seen], volume.data[seen])
    assert (imputed.std[seen] == 0).all()
    assert (imputed.std[~seen] > 0).all()


def test_unobserved_values_never_reach_the_output(rng: np.random.Generator) -> None:
    truth = isotropic(rng)
    gaps = sparse(truth)

    first, second = run(gaps), run(Volume(truth, gaps.observed, gaps.affine))

    assert first.draw is not None
    assert second.draw is not None
    assert_array_equal(second.mean, first.mean)
    assert_array_equal(second.draw(2), first.draw(2))


def test_a_change_of_units_changes_the_units_of_the_result(rng: np.random.Generator) -> None:
    volume = sparse(isotropic(rng))
    moved = Volume(volume.data * 7 + 300, volume.observed, volume.affine)

    before, after = run(volume), run(moved)

    assert before.std is not None
    assert after.std is not None
    tolerance = 1e-4 * 7 * np.ptp(before.mean)
    assert_allclose(after.mean, 7 * before.mean + 300, atol=tolerance)
    assert_allclose(after.std, 7 * before.std, atol=tolerance)


def test_transposing_slices_and_reversing_their_order_does_so_to_the_result(
    rng: np.random.Generator,
) -> None:
    volume = sparse(isotropic(rng))

    def moved(data: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(data.transpose(1, 0, 2)[..., ::-1])

    turned = Volume(moved(volume.data), moved(volume.observed), volume.affine)

    assert_allclose(run(turned).mean, moved(run(volume).mean), rtol=1e-4)


def test_draws_scatter_about_the_mean_by_the_spread(rng: np.random.Generator) -> None:
    volume = sparse(isotropic(rng))
    imputed = run(volume)
    assert imputed.draw is not None
    assert imputed.std is not None

    draws = np.stack([imputed.draw(n) for n in range(1, 41)])

    missing = ~volume.observed
    ratio = draws.std(axis=0, ddof=1)[missing].mean() / imputed.std[missing].mean()
    assert ratio == pytest.approx(1.0, abs=0.05)
    assert_array_equal(run(volume).draw(7), draws[6])


def test_an_uneven_stack_with_holes_is_filled(rng: np.random.Generator) -> None:
    truth = isotropic(rng, 20)
    observed = np.zeros(truth.shape, bool)
    observed[..., [2, 4, 7, 10, 13, 14, 18]] = True
    observed[5:8, 5:8] = False
    volume = Volume(np.where(observed, truth, np.float32(np.nan)), observed, np.eye(4))

    imputed = run(volume)

    assert imputed.std is not None
    assert imputed.draw is not None
    assert np.isfinite(imputed.mean).all()
    assert np.isfinite(imputed.draw(1)).all()
    assert (imputed.std[~observed] > 0).all()


def test_a_gap_far_beyond_those_it_knows_is_interpolated_and_says_so(
    rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    volume = sparse(isotropic(rng), step=5)

    imputed = run(volume)

    assert "knows gaps of up to 4 voxels, not 5: interpolated" in caplog.text
    assert imputed.quality == {"gaps": {}, "left_out_slices": {}, "interpolated_share": 1.0}
    assert_array_equal(imputed.mean, interpolated(volume, "pchip"))
    assert imputed.std is not None
    assert (imputed.std[~volume.observed] > 0).all()


def test_a_gap_a_little_beyond_those_it_knows_is_predicted(rng: np.random.Generator) -> None:
    volume = sparse(isotropic(rng, 17), step=4)

    imputed = run(volume)

    assert (imputed.mean != interpolated(volume, "pchip"))[~volume.observed].mean() > 0.99
    assert imputed.quality["interpolated_share"] == 0


def test_spread_follows_the_errors_on_the_scans_own_slices(rng: np.random.Generator) -> None:
    truth = np.tile(isotropic(rng, 32), (2, 2, 1))
    volume = sparse(truth)
    small, large = (np.full(2, size, np.float32) for size in (0.2, 5.0))
    network = imputer().network

    first, second = (
        run(volume, CrossPlane(network, {3: factor}, device="cpu")) for factor in (small, large)
    )

    assert first.std is not None
    assert second.std is not None
    assert_allclose(first.std, second.std, rtol=1e-3)  # what the cohort said is corrected


def test_spread_follows_the_errors_on_slices_that_were_left_out(rng: np.random.Generator) -> None:
    truth = isotropic(rng, 60)
    shuffled = truth.copy()
    order = rng.permutation(20)
    for to, start in enumerate(3 * order):  # slices as they were, next to others
        shuffled[..., 3 * to] = truth[..., start]

    linear = CrossPlane(build(TINY, seed=0), {3: np.ones(2, np.float32)}, device="cpu")
    linear.factors[6] = np.ones(5, np.float32)

    smooth, broken = run(sparse(truth), linear), run(sparse(shuffled), linear)

    assert smooth.std is not None
    assert broken.std is not None
    missing = ~sparse(truth).observed
    assert broken.std[missing].mean() > 1.2 * smooth.std[missing].mean()
    told = [one.quality["left_out_slices"]["3"] for one in (smooth, broken)]
    assert told[1]["error_over_std"] > 1.2 * told[0]["error_over_std"]
    assert 0.8 < told[0]["coverage_90"] < 0.97
    assert told[0]["gap"] == 6


def test_what_fills_the_holes_of_a_slice_is_no_truth(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(left_out, "FEWEST_PIXELS", 50)
    factors = {3: np.ones(2, np.float32), 6: np.ones(5, np.float32)}
    linear, volume = (
        CrossPlane(build(TINY, seed=0), factors, device="cpu"),
        sparse(isotropic(rng, 40)),
    )
    observed = volume.observed.copy()
    observed[5:30, :, 3::6] = False  # in each of the slices that are left out
    holes = Volume(volume.data, observed, volume.affine)

    whole, holed = (run(one, linear).quality["left_out_slices"] for one in (volume, holes))

    assert list(whole) == ["3"]
    assert holed == {}


def test_adapting_to_a_scan_leaves_the_model_as_it_was(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_plane, "adapted", partial(adapted, steps=10))
    volume, ours = sparse(isotropic(rng, 24)), imputer()
    before = {name: tensor.clone() for name, tensor in ours.network.state_dict().items()}
    adapting = CrossPlane(ours.network, ours.factors, device="cpu", adapt=True)

    first, again, plain = run(volume, adapting), run(volume, adapting), run(volume, ours)

    assert_array_equal(first.mean, again.mean)
    seen = volume.observed
    assert_array_equal(first.mean[seen], volume.data[seen])
    assert np.abs(first.mean - plain.mean)[~seen].mean() > 0
    for name, tensor in ours.network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_thickness_is_told_to_the_network(rng: np.random.Generator) -> None:
    volume = sparse(isotropic(rng))
    thick = dataclasses.replace(volume, thickness_mm=2.5)

    first, second = run(volume), run(thick)

    assert np.abs(first.mean - second.mean)[~volume.observed].mean() > 0
    assert_array_equal(second.mean[volume.observed], volume.data[volume.observed])


def test_fast_it_says_nearly_the_same_and_what_it_multiplies(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_plane, "bfloat16_works", lambda network: False)
    volume, ours = sparse(isotropic(rng)), imputer()
    faster = CrossPlane(ours.network, ours.factors, device="cpu", fast=True)

    exact, fast = run(volume, ours), run(volume, faster)

    assert (ours.arithmetic, faster.arithmetic) == ("float32", "float32")
    seen = volume.observed
    assert_array_equal(fast.mean[seen], volume.data[seen])
    moved = np.abs(fast.mean - exact.mean)[~seen].mean()
    assert 0 < moved < 0.1 * np.abs(exact.mean - interpolated(volume, "pchip"))[~seen].mean() + 1.0
    monkeypatch.setattr(cross_plane, "bfloat16_works", lambda network: True)
    faster = CrossPlane(ours.network, ours.factors, device="cpu", fast=True)
    assert faster.arithmetic == "bfloat16"


def head_in_air(rng: np.random.Generator) -> np.ndarray:
    """A ball of texture that gets darker towards its surface, in weak noise."""
    grid = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij"))
    ball = (1 - np.square(grid - 19.5).sum(axis=0) / 13**2).clip(0)
    return (isotropic(rng, 40) * 4 * ball + 20 * rng.random((40, 40, 40))).astype(np.float32)


def test_air_is_as_noisy_as_it_is_and_so_are_draws(rng: np.random.Generator) -> None:
    truth = head_in_air(rng)
    volume = sparse(truth)

    imputed = run(volume)

    corner = np.s_[:3, :3]
    missing = ~volume.observed[corner]
    assert imputed.std is not None
    assert imputed.draw is not None
    error = (imputed.mean - truth)[corner][missing]
    assert imputed.std[corner][missing].mean() == pytest.approx(error.std(), rel=0.6)
    drawn = np.stack([(imputed.draw(n) - imputed.mean)[corner][missing] for n in range(1, 9)])
    assert drawn.std() == pytest.approx(imputed.std[corner][missing].mean(), rel=0.3)


def test_a_pattern_that_is_no_stack_is_interpolated_and_says_so(
    rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    truth = isotropic(rng, 12)
    volume = Volume(truth, rng.random(truth.shape) < 0.5, np.eye(4))

    imputed = run(volume)

    assert "no slice stack" in caplog.text
    assert_array_equal(imputed.mean, interpolated(volume, "pchip"))


def test_two_slices_of_a_constant_scan_are_filled() -> None:
    data = np.full((6, 6, 4), 5, np.float32)
    observed = np.zeros(data.shape, bool)
    observed[..., [0, 3]] = True

    imputed = run(Volume(data, observed, np.eye(4)))

    assert imputed.std is not None
    assert imputed.draw is not None
    assert np.isfinite(imputed.draw(1)).all()


def test_factors_that_do_not_fit_their_gap_are_refused(tmp_path: Path) -> None:
    network = {f"network.{k}": v for k, v in build(TINY, seed=0).state_dict().items()}
    settings = {"channels": 4, "blocks": 1, "hidden": 4}
    path = tmp_path / "model.safetensors"
    save(path, {**network, "factor.3": torch.ones(4)}, {"name": "cross-plane", "model": settings})

    with pytest.raises(CheckpointError, match=r"factor\.3 must have shape"):
        load_imputer(str(path), device="cpu")


@pytest.mark.slow
def test_it_beats_every_interpolator_where_texture_is_isotropic(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    for n in range(4):
        data = isotropic(rng, 40)[..., ::3]
        image = nib.Nifti1Image(data, np.diag([1.0, 1.0, 3.0, 1.0]))
        nib.save(image, tmp_path / f"sub-{n}.nii.gz")
    settings = {
        "name": "cross-plane",
        "model": {"channels": 16, "blocks": 3, "hidden": 16},
        "lines": {"gaps": [3], "edge": 36},
        "train": {"patches": 1600, "batch": 4, "rate": 3e-3, "average": 0.98, "val_patches": 8},
    }
    path = train(
        tmp_path,
        tmp_path / "run",
        settings,
        seed=0,
        device="cpu",
        max_minutes=None,
        track=silent,
    )
    truth = isotropic(rng, 40)
    volume = sparse(truth)
    missing = ~volume.observed

    imputed = load_imputer(str(path), device="cpu").impute(volume, seed=0, case="a")

    assert imputed.std is not None
    error = (imputed.mean - truth)[missing]
    for kind in ("linear", "pchip", "cubic"):
        theirs = np.square(interpolated(volume, kind) - truth)[missing].mean()
        assert np.square(error).mean() < 0.9 * theirs, kind
    z = ((imputed.mean - truth) / np.where(missing, imputed.std, 1))[missing]
    assert np.square(z).mean() == pytest.approx(1.0, abs=0.5)  # four scans, one texture
    report = json.loads((tmp_path / "run" / "journal.jsonl").read_text().splitlines()[-1])
    assert report["val_gain_db"]["3"] > 0.5
