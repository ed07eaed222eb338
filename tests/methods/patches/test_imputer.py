"""Tests for mriimpute.methods.patches.imputer and mriimpute.methods.patches.tiling."""

import json

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal
from torch import Tensor

from mriimpute.cohort import normalisation
from mriimpute.errors import CheckpointError
from mriimpute.layers.density import FullGaussian
from mriimpute.methods.patches import models
from mriimpute.methods.patches.imputer import PatchImputer
from mriimpute.methods.patches.model import Model
from mriimpute.methods.patches.models.mvae import Mvae
from mriimpute.methods.patches.models.ppca import Config, Ppca
from mriimpute.methods.patches.objectives.elbo import negative_log_density
from mriimpute.methods.patches.tiling import Lattice
from mriimpute.seeds import numpy_stream, stream
from mriimpute.volume import Volume

SMALL = {
    "ppca": {"patch": [4, 5, 6], "latents": 3},
    "mvae": {"patch": [4, 5, 6], "hidden": 6, "latents": 3},
    "miwae": {"patch": [4, 5, 6], "hidden": 6, "latents": 3, "weights": 5},
    "tae": {
        "patch": [4, 4, 6],
        "architecture": "conv",
        "levels": 1,
        "channels": 3,
        "latents": 2,
        "prior_levels": 1,
        "skip": True,
    },
}
every_model = pytest.mark.parametrize("name", SMALL)


def trained(name: str = "ppca") -> Model:
    """A model whose parameters are not where they started."""
    model = models.build(name, dict(SMALL[name]), seed=0)
    generator = stream(0, "parameters of a test")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


def imputer_of(model: Model) -> PatchImputer:
    return PatchImputer(model, "a model", device="cpu")


def imputer(name: str = "ppca") -> PatchImputer:
    return imputer_of(trained(name))


def stack(shape: tuple[int, int, int] = (9, 10, 13), gap: int = 3) -> Volume:
    data = 100 * numpy_stream(0, "head").random(shape, np.float32)
    observed = np.zeros(shape, bool)
    observed[:, :, ::gap] = True
    return Volume(np.where(observed, data, np.float32(np.nan)), observed, np.eye(4))


def draws_of(volume: Volume, count: int, name: str = "ppca") -> np.ndarray:
    made = imputer(name).impute(volume, seed=0, case="a")
    assert made.draw is not None
    return np.stack([made.draw(n) for n in range(1, count + 1)])


@every_model
def test_acquired_voxels_come_back_bit_for_bit(name: str) -> None:
    volume = stack()

    made = imputer(name).impute(volume, seed=0, case="a")

    assert made.draw is not None
    assert made.std is not None
    for image in (made.mean, made.draw(1)):
        assert np.isfinite(image).all()
        assert_array_equal(image[volume.observed], volume.data[volume.observed])
    assert (made.std[volume.observed] == 0).all()
    assert (made.std[~volume.observed] > 0).all()


@pytest.mark.parametrize(
    ("name", "tile"),
    [("ppca", 1000), ("ppca", 7), ("ppca", 3), ("mvae", 7), ("miwae", 7), ("tae", 7)],
)
def test_tile_changes_no_bit(name: str, tile: int) -> None:
    volume = stack()
    whole = imputer(name).impute(volume, seed=0, case="a")
    parts = imputer(name).tiled(tile).impute(volume, seed=0, case="a")

    assert whole.std is not None
    assert parts.std is not None
    assert_array_equal(parts.mean, whole.mean)
    assert_array_equal(parts.std, whole.std)
    assert whole.draw is not None
    assert parts.draw is not None
    assert_array_equal(parts.draw(7), whole.draw(7))


@every_model
def test_draw_seven_is_the_same_whatever_else_is_drawn(name: str) -> None:
    first = imputer(name).impute(stack(), seed=0, case="a")
    second = imputer(name).impute(stack(), seed=0, case="a")

    assert first.draw is not None
    assert second.draw is not None
    for n in (1, 2, 9):
        first.draw(n)

    assert_array_equal(first.draw(7), second.draw(7))
    assert (first.draw(7) != first.draw(8))[~stack().observed].all()


@pytest.mark.parametrize(("seed", "case"), [(1, "a"), (0, "b")])
def test_another_seed_or_case_draws_otherwise(seed: int, case: str) -> None:
    first = imputer().impute(stack(), seed=0, case="a")
    second = imputer().impute(stack(), seed=seed, case=case)

    assert first.draw is not None
    assert second.draw is not None
    assert (first.draw(1) != second.draw(1))[~stack().observed].all()


@every_model
def test_values_of_unobserved_voxels_do_not_matter(name: str) -> None:
    volume = stack()
    wild = Volume(np.where(volume.observed, volume.data, 1e6), volume.observed, volume.affine)

    made, made_wild = (imputer(name).impute(v, seed=0, case="a") for v in (volume, wild))

    assert_array_equal(made.mean, made_wild.mean)


@pytest.mark.parametrize(("a", "b"), [(1000.0, 0.0), (0.5, -300.0)])
@every_model
def test_gain_and_offset_pass_through(name: str, a: float, b: float) -> None:
    volume = stack()
    changed = Volume((a * volume.data + b).astype(np.float32), volume.observed, volume.affine)

    first, second = (imputer(name).impute(v, seed=0, case="a") for v in (volume, changed))

    assert first.draw is not None
    assert second.draw is not None
    assert first.std is not None
    assert second.std is not None
    assert_allclose(second.mean, a * first.mean + b, atol=0.02 * a)
    assert_allclose(second.draw(1), a * first.draw(1) + b, atol=0.02 * a)
    assert_allclose(second.std, a * first.std, rtol=1e-3, atol=1e-3 * a)


def test_patch_alone_gives_the_exact_posterior() -> None:
    """On a grid of one patch the Gaussian subspace can be solved by hand."""
    model = trained()
    volume = stack((4, 5, 6))
    made = imputer_of(model).impute(volume, seed=0, case="a")

    low, high = np.percentile(volume.data[volume.observed], [0.5, 99.5])
    o = volume.observed.ravel()
    y = (volume.data.ravel()[o] - low) / (high - low)
    w, mu, sigma = (
        np.asarray(t.detach(), np.float64)
        for t in (model.w, model.mu, model.sigma)  # type: ignore[arg-type]
    )
    gain = w @ w[o].T @ np.linalg.inv(w[o] @ w[o].T + sigma**2 * np.eye(o.sum()))
    expected = ((mu + gain @ (y - mu[o])) * (high - low) + low).reshape(volume.shape)

    assert_allclose(made.mean[~volume.observed], expected[~volume.observed], rtol=1e-4, atol=0.01)


@pytest.mark.parametrize("name", ["ppca", "mvae"])
def test_draws_spread_as_far_as_the_standard_deviation_says(name: str) -> None:
    volume = stack()
    made = imputer(name).impute(volume, seed=0, case="a")
    draws = draws_of(volume, 200, name)

    assert made.std is not None
    missing = ~volume.observed
    ratio = np.square(draws.std(axis=0)[missing]).mean() / np.square(made.std[missing]).mean()
    assert 0.85 < ratio < 1.15
    bias = (draws.mean(axis=0) - made.mean)[missing] / made.std[missing]
    assert np.abs(bias).mean() < 0.1


class Blind(Ppca):
    """An encoder that sees nothing gives the prior; weighing its draws makes up for that."""

    weights = 2000

    def posterior(self, y: Tensor, observed: Tensor) -> FullGaussian:
        return super().posterior(y, torch.zeros_like(observed))


def blind_and_exact(sigma: float) -> tuple[Model, Model]:
    """Returns one subspace, without and with its exact posterior."""
    exact = trained()
    exact.noise.assign(sigma)  # type: ignore[operator, union-attr]
    blind = Blind(Config(patch=(4, 5, 6), latents=3))
    blind.load_state_dict(exact.state_dict())
    return blind, exact


def test_weights_make_up_for_a_poor_encoder(caplog: pytest.LogCaptureFixture) -> None:
    blind, exact = blind_and_exact(1.0)
    volume = stack((4, 5, 6))

    with caplog.at_level("INFO"):
        wanted, made = (
            imputer_of(model).impute(volume, seed=0, case="a") for model in (exact, blind)
        )

    assert wanted.std is not None
    assert made.std is not None
    missing = ~volume.observed
    difference = np.abs(made.mean - wanted.mean)[missing]
    assert (difference < 0.1 * wanted.std[missing]).all()
    assert_allclose(made.std[missing], wanted.std[missing], rtol=0.15)
    (line,) = caplog.messages
    assert line.startswith("a: ")
    assert line.endswith("draws count per patch, in the mean")


def test_weighed_draws_are_draws_of_the_exact_posterior() -> None:
    """By the latent draws alone: noise of voxels would hide where they are."""
    blind, exact = blind_and_exact(0.5)
    blind.weights = 60
    volume = stack((4, 5, 6))
    missing = ~volume.observed

    def drawn(model: Model) -> np.ndarray:
        y = normalisation(volume).apply(np.where(volume.observed, volume.data, np.nan))
        work = imputer_of(model).work(y, (4, 5, 6), seed=0, case="a")
        return np.stack([work.latent_draw(n)[missing] for n in range(1, 121)])

    wanted, made = drawn(exact), drawn(blind)

    spread = wanted.std(axis=0)
    prior = trained().w.detach().norm(dim=1).view(4, 5, 6).numpy()[missing]  # type: ignore[operator, union-attr]
    assert (prior > 2 * spread).mean() > 0.9  # what draws without weights would spread
    assert np.abs(made.mean(axis=0) - wanted.mean(axis=0)).mean() < 0.15 * spread.mean()
    assert_allclose(made.std(axis=0), spread, rtol=0.3)


def test_noise_of_each_voxel_is_its_own() -> None:
    """With no spread of z, the standard deviation is that of each voxel given z."""
    model = trained("mvae")
    assert isinstance(model, Mvae)
    for part in (model.encoder.loc, model.encoder.log_scale):
        for parameter in part.parameters():
            parameter.data.zero_()
    model.encoder.log_scale.get_parameter("bias").data.fill_(-1e6)
    volume = stack((4, 5, 6))

    made = imputer_of(model).impute(volume, seed=0, case="a")

    low, high = np.percentile(volume.data[volume.observed], [0.5, 99.5])
    scale = model.clean(torch.zeros(1, 1, 3)).scale.detach().numpy().reshape(4, 5, 6)
    assert made.std is not None
    missing = ~volume.observed
    assert_allclose(made.std[missing], (scale * (high - low))[missing], rtol=1e-3)


@pytest.mark.parametrize("shape", [(3, 4, 5), (4, 5, 6), (3, 12, 7)])
def test_grid_smaller_than_a_patch_is_completed(shape: tuple[int, int, int]) -> None:
    volume = stack(shape, gap=2)

    made = imputer().tiled(2).impute(volume, seed=0, case="a")

    assert made.mean.shape == shape
    assert np.isfinite(made.mean).all()


def test_patch_without_an_observed_voxel_takes_the_prior() -> None:
    volume = stack((8, 10, 24))
    volume.observed[:, :, 6:] = False

    made = imputer().impute(volume, seed=0, case="a")

    assert made.std is not None
    assert np.isfinite(made.mean).all()
    assert made.std[:, :, 18:].mean() > 1.1 * made.std[:, :, 1:3].mean()


def test_patch_of_two_axes_is_imputed_across_the_slices() -> None:
    model = Config(patch=(4, 6), latents=3).build()

    made = imputer_of(model).tiled(5).impute(stack(), seed=0, case="a")

    assert np.isfinite(made.mean).all()


def test_imputer_is_rebuilt_from_what_training_saved() -> None:
    model = trained()
    metadata = json.loads(json.dumps({"name": "ppca", "model": SMALL["ppca"]}))

    again = PatchImputer.from_checkpoint(model.state_dict(), metadata, device="cpu")

    first = imputer().impute(stack(), seed=0, case="a")
    assert_array_equal(again.impute(stack(), seed=0, case="a").mean, first.mean)


def test_weights_of_another_model_are_refused() -> None:
    metadata = {"name": "ppca", "model": {"patch": [4, 5, 6], "latents": 4}}

    with pytest.raises(CheckpointError, match="does not fit the model"):
        PatchImputer.from_checkpoint(trained().state_dict(), metadata, device="cpu")


@pytest.mark.parametrize("shape", [(9, 10, 13), (4, 5, 6), (3, 20, 6)])
def test_patches_cover_every_voxel_and_regions_tile_the_grid(shape: tuple[int, int, int]) -> None:
    lattice = Lattice(shape, (4, 5, 6), batch=3)
    covered, tiled = np.zeros(shape, int), np.zeros(shape, int)

    for group in lattice.groups():
        assert 1 <= len(group) <= 3
        for place in group:
            box = tuple(slice(max(p, 0), p + e) for p, e in zip(place, (4, 5, 6), strict=True))
            covered[box] += 1
    for region in lattice.regions(4):
        tiled[region.slices] += 1

    assert (covered > 0).all()
    assert (tiled == 1).all()
    assert (lattice.tent > 0).all()


def judged(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """A truth, NaN where it must not be looked at, and half of the missing voxels."""
    random = numpy_stream(0, "truth").random((2, *volume.shape), np.float32)
    region = ~volume.observed & (random[0] < 0.5)
    return np.where(region, 100 * random[1], np.float32(np.nan)), region


@pytest.mark.parametrize("name", ["ppca", "mixture-ppca"])
def test_bound_of_an_exact_posterior_is_the_gaussian_density_of_what_is_missing(
    name: str,
) -> None:
    config = {"patch": [4, 5, 6], "latents": 3}
    model = trained() if name == "ppca" else models.build(name, config | {"components": 1}, seed=0)
    subspace = model if isinstance(model, Ppca) else next(iter(model.children()))[0]
    volume = stack((4, 5, 6), gap=3)  # one patch
    truth, region = judged(volume)
    norm = normalisation(volume)

    density = imputer_of(model).impute(volume, seed=0, case="a").log_density

    w, mu = subspace.w.detach().double().numpy(), subspace.mu.detach().double().numpy()
    covariance = w @ w.T + float(subspace.sigma.detach()) ** 2 * np.eye(len(w))
    y = norm.apply(np.where(region, truth, volume.data)).ravel().astype(np.float64)

    def log_density(where: np.ndarray) -> float:
        known = where.ravel()
        gaussian = multivariate_normal(mu[known], covariance[np.ix_(known, known)])
        return float(gaussian.logpdf(y[known]))

    exact = log_density(volume.observed | region) - log_density(volume.observed)
    expected = exact / region.sum() - np.log(norm.scale)
    assert density is not None
    assert_allclose(density(truth, region), expected, rtol=1e-4)


def test_bound_of_an_encoder_lies_below_what_many_draws_say() -> None:
    model, volume = trained("mvae"), stack((4, 5, 6), gap=3)
    truth, region = judged(volume)
    norm, made = normalisation(volume), imputer_of(model)

    density = made.impute(volume, seed=0, case="a").log_density

    y = torch.from_numpy(norm.apply(np.where(region, truth, volume.data)))[None, None]
    observed, missing = (torch.from_numpy(part)[None, None] for part in (volume.observed, region))
    with torch.no_grad():
        recovery = made.model.recovery(y, observed)
        z = recovery.latent.sample(20_000, stream(0, "many"))
        nats = -negative_log_density(recovery.voxels(z), y, missing)
        many = float(torch.logsumexp(nats.double(), 0)) - np.log(len(z))
    assert density is not None
    below = many / region.sum() - np.log(norm.scale) - density(truth, region)
    assert -0.01 < below < 10


@every_model
def test_bound_follows_the_units_and_is_the_same_each_time(name: str) -> None:
    volume = stack()
    truth, region = judged(volume)
    brighter = Volume(8 * volume.data, volume.observed, volume.affine)

    one, other = (
        imputer(name).impute(v, seed=0, case="a").log_density for v in (volume, brighter)
    )

    assert one is not None
    assert other is not None
    assert one(truth, region) == one(truth, region)
    assert_allclose(other(8 * truth, region), one(truth, region) - np.log(8), rtol=1e-4, atol=1e-4)
