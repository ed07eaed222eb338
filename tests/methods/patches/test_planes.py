"""Tests for mriimpute.methods.patches.planes, and what the imputer makes of them."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from mriimpute.methods.base import Imputation
from mriimpute.methods.patches import models, planes
from mriimpute.methods.patches.imputer import PatchImputer
from mriimpute.methods.patches.model import Model
from mriimpute.methods.patches.models.ppca import Config, Ppca
from mriimpute.seeds import numpy_stream, stream
from mriimpute.volume import Volume

PATCH, BLOCK = (12, 12), (8, 8, 7)
SMALL = {
    "ppca": {"patch": [6, 8], "latents": 5},
    "conv-sparse": {"patch": [8, 8], "levels": 1, "channels": 3, "latents": 2},
    "miwae": {"patch": [6, 8], "hidden": 5, "latents": 3, "weights": 3},
    "tae": {"patch": [6, 8], "hidden": 5, "latents": 3, "learn_noise": False},
}
LARGE = (32, 30, 31)
every_model = pytest.mark.parametrize("name", SMALL)


def texture(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Texture that looks alike in all directions."""
    rough = numpy_stream(seed, "texture").normal(size=shape)
    return (ndimage.gaussian_filter(rough, 1.5, mode="wrap") * 1200 + 500).astype(np.float32)


def stack(shape: tuple[int, int, int] = (16, 14, 13), gap: int = 3, axis: int = 2) -> Volume:
    data = texture(shape)
    observed = np.zeros(shape, bool)
    np.moveaxis(observed, axis, 0)[::gap] = True
    return Volume(np.where(observed, data, np.float32(np.nan)), observed, np.eye(4))


def trained(name: str) -> Model:
    """A model whose parameters are not where they started."""
    model = models.build(name, dict(SMALL[name]), seed=0)
    generator = stream(0, "parameters of a test")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def exact(noise: float = 0.03, patch: tuple[int, ...] = PATCH) -> Ppca:
    """The Gaussian of the texture: a covariance known in all directions."""
    axes = np.meshgrid(*map(np.arange, patch), indexing="ij")
    places = np.stack(axes, -1).reshape(-1, len(patch))
    distance = np.square(places[:, None] - places[None]).sum(-1)
    values, vectors = np.linalg.eigh(0.2**2 * np.exp(-distance / (4 * 1.5**2)))
    model = Config(patch=patch, latents=60).build()
    with torch.no_grad():
        w = vectors[:, -60:] * np.sqrt(np.maximum(values[-60:], 0))
        model.w.copy_(torch.from_numpy(w.astype(np.float32)))
        model.mu.fill_(0.5)
        model.noise.assign(noise)
    return model


def impute(model: Model, volume: Volume, tile: int = 128, seed: int = 0) -> Imputation:
    imputer = PatchImputer(model, "a model", device="cpu", tile=tile, is_calibrated=True)
    return imputer.impute(volume, seed=seed, case="a")


def rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.square(error, dtype=np.float64).mean()))


@every_model
@pytest.mark.parametrize("axis", [0, 2])
def test_acquired_voxels_come_back_and_all_others_are_filled(name: str, axis: int) -> None:
    volume = stack((14, 13, 14), axis=axis)

    made = impute(trained(name), volume)

    assert made.std is not None
    for image in (made.mean, made.drawn(1)):
        assert np.isfinite(image).all()
        assert_array_equal(image[volume.observed], volume.data[volume.observed])
    assert (made.std[volume.observed] == 0).all()
    assert (made.std[~volume.observed] > 0).all()


@every_model
def test_tiles_and_other_draws_change_no_bit(name: str) -> None:
    volume = stack((9, 12, 10))
    first, second = impute(trained(name), volume), impute(trained(name), volume, tile=7)

    second.drawn(1)

    assert_array_equal(first.mean, second.mean)
    assert_array_equal(first.drawn(3), second.drawn(3))
    missing = ~volume.observed
    assert (first.drawn(3) != first.drawn(4))[missing].all()
    assert (first.drawn(3) != impute(trained(name), volume, seed=1).drawn(3))[missing].all()


@pytest.mark.parametrize(("a", "b"), [(1000.0, 0.0), (0.5, -300.0)])
def test_gain_and_offset_pass_through(a: float, b: float) -> None:
    volume = stack()
    changed = Volume((a * volume.data + b).astype(np.float32), volume.observed, volume.affine)

    first, second = (impute(exact(), v) for v in (volume, changed))

    assert first.std is not None
    assert second.std is not None
    assert_allclose(second.mean, a * first.mean + b, atol=0.02 * a)
    assert_allclose(second.drawn(1), a * first.drawn(1) + b, atol=0.5 * a)
    assert_allclose(second.std, a * first.std, rtol=1e-2)


@pytest.mark.parametrize(("noise", "patch"), [(0.011, PATCH), (0.3, PATCH), (0.05, BLOCK)])
def test_std_and_draws_are_calibrated_whatever_noise_the_model_was_told(
    noise: float, patch: tuple[int, ...]
) -> None:
    """Of texture that is alike in all directions, its own slices know all about its errors."""
    volume, truth = stack(LARGE), texture(LARGE)

    made = impute(exact(noise, patch), volume)

    inside = ~volume.observed
    error = (made.mean - truth)[inside]
    assert made.std is not None
    assert rms(error) / rms(made.std[inside]) == pytest.approx(1, abs=0.15)
    assert (np.abs(error) < 1.645 * made.std[inside]).mean() == pytest.approx(0.9, abs=0.04)
    spread = np.stack([made.drawn(n) - made.mean for n in range(1, 5)])[:, inside]
    assert rms(spread) / rms(made.std[inside]) == pytest.approx(1, abs=0.1)


def test_two_planes_know_more_than_interpolation() -> None:
    volume, truth = stack(LARGE), texture(LARGE)
    missing = ~volume.observed
    linear = 0.0 * truth
    for k in range(0, 31, 3):
        for step in range(min(3, 31 - k)):
            linear[..., k + step] = (
                (3 - step) * truth[..., k] + step * truth[..., min(k + 3, 30)]
            ) / 3

    made = impute(exact(), volume)

    errors = [rms((image - truth)[missing]) for image in (made.mean, linear)]
    assert errors[0] < 0.9 * errors[1]
    measured = made.quality["gaps"]["3"]
    assert measured["coverage_90"] == pytest.approx(0.9, abs=0.05)
    # Inside slices there is one plane to predict from, across them there are two.
    assert 0.5 < measured["gain_db"] < 20 * np.log10(errors[1] / errors[0])


def test_slices_that_are_left_out_say_what_lines_inside_them_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Texture that is smoother across slices: errors there are smaller than inside them."""
    shape = (48, 46, 43)
    rough = numpy_stream(0, "texture").normal(size=shape)
    truth = ndimage.gaussian_filter(rough, (1.5, 1.5, 3.0), mode="wrap") * 1700 + 500
    observed = np.zeros(shape, bool)
    observed[..., ::3] = True
    data = np.where(observed, truth, np.nan).astype(np.float32)
    volume = Volume(data, observed, np.diag([2.0, 2, 2, 1]))

    made = impute(exact(), volume)
    monkeypatch.setattr(planes, "on_left_out_slices", lambda *_: {})
    before = impute(exact(), volume)

    told = made.quality["left_out_slices"]["3"]
    assert told["gap"] == 6
    assert told["error_over_std"] < 0.8
    assert told["coverage_90"] == pytest.approx(0.9, abs=0.06)
    assert made.std is not None
    assert before.std is not None
    assert_array_equal(made.mean, before.mean)
    inner = made.std[..., :40], told["error_over_std"] * before.std[..., :40]
    assert_allclose(*inner, rtol=1e-3)
    assert rms(before.std) > rms(made.std) > rms((made.mean - truth)[..., :40])


def test_a_model_that_knows_nothing_is_not_believed() -> None:
    """Its departure from interpolation is shrunk to what hidden lines ask for."""
    volume, truth = stack(LARGE), texture(LARGE)
    wild = exact()
    with torch.no_grad():
        wild.w.copy_(0.5 * torch.randn(wild.w.shape, generator=stream(0, "wild")))
    missing = ~volume.observed

    made = impute(wild, volume)

    assert rms((made.mean - truth)[missing]) < 0.5 * rms((truth - truth.mean())[missing])


def test_neighbouring_planes_have_much_the_same_latent_noise() -> None:
    work = PatchImputer(exact(), "a", device="cpu").work(
        np.full((20, 20, 20), np.nan, np.float32), (6, 1, 8), seed=0, case="a"
    )

    noise = torch.stack([work._noise_at((0, n, 0), (1, 3000), "a", "draw", 1) for n in range(9)])

    assert_allclose(noise.std(dim=-1).numpy(), 1, atol=0.05)
    flat = noise[:, 0].numpy()
    assert np.corrcoef(flat)[0, [1, 4, 8]] == pytest.approx([0.92, 0, 0], abs=0.06)


def test_bound_of_the_truth_is_the_mean_of_both_families() -> None:
    volume, truth = stack(), texture((16, 14, 13))
    region = ~volume.observed

    made = impute(exact(), volume)

    assert made.log_density is not None
    nats = made.log_density(np.where(region, truth, np.float32(np.nan)), region)
    assert nats == made.log_density(np.where(region, truth, np.float32(np.nan)), region)
    assert -12 < nats < 0
