"""Promises that every file in mriimpute/models keeps; a new file is tested by existing."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from mriimpute.errors import ConfigError
from mriimpute.methods.patches import models
from mriimpute.methods.patches.config import PatchTrainingConfig
from mriimpute.methods.patches.objective import objective
from mriimpute.methods.patches.objectives.elbo import negative_elbo
from mriimpute.seeds import stream
from mriimpute.training.settings import preset

assert_same = partial(assert_close, rtol=0, atol=0, equal_nan=True)
GRID = (12, 12, 12)
# Small enough for a CPU; a model that is not named here is tested with its defaults.
SMALL: dict[str, dict[str, object]] = {
    "ppca": {"patch": GRID, "latents": 6},
    "ppca-em": {"patch": GRID, "latents": 6},
    "mixture-ppca": {"patch": GRID, "components": 3, "latents": 6},
    "conv-sparse": {"patch": GRID, "levels": 2, "channels": 4, "latents": 3},
    "conv-zero": {"patch": GRID, "levels": 2, "channels": 4, "latents": 3},
    "conv-mean": {"patch": GRID, "levels": 2, "channels": 4, "latents": 3},
    "conv-interp": {"patch": GRID, "levels": 2, "channels": 4, "latents": 3},
    "conv-interp-wmask": {"patch": GRID, "levels": 2, "channels": 4, "latents": 3},
    "conv-fc-sparse": {"patch": GRID, "levels": 2, "channels": 4, "latents": 6},
    "local-sparse": {"patch": GRID, "levels": 1, "channels": 4, "latents": 6},
    "mvae": {"patch": GRID, "hidden": 12, "latents": 3},
    "miwae": {"patch": GRID, "architecture": "conv", "channels": 4, "latents": 3},
    "tae": {
        "patch": GRID,
        "architecture": "conv",
        "channels": 4,
        "latents": 3,
        "prior_channels": 3,
        "skip": True,
    },
}
every_model = pytest.mark.parametrize("name", models.available())


def build(name: str, **settings: object) -> models.Model:
    return models.build(name, {**SMALL.get(name, {}), **settings}, seed=0)


def randomised(model: models.Model, generator: torch.Generator) -> models.Model:
    """Moves every parameter off its initial value: a layer of zeros hides what feeds it."""
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data += 0.1 * noise
    return model


def own_loss(name: str, model: models.Model, y: Tensor, observed: Tensor) -> Tensor:
    """Returns what training minimises by default."""
    config = PatchTrainingConfig(
        objective=preset(name)["train"].get("objective", "evidence"), draws=2
    )
    generator = stream(0, "draws", device=y.device)
    return objective(model, y, observed, config, weight=1.0, generator=generator)


def sparse(
    generator: torch.Generator, grid: tuple[int, ...] = GRID, batch: int = 3
) -> tuple[Tensor, Tensor]:
    """Returns patches of which every third slice is observed, another one in each."""
    y = torch.rand(batch, 1, *grid, generator=generator)
    observed = torch.zeros(y.shape, dtype=torch.bool)
    for phase in range(batch):
        observed[phase, ..., phase % 3 :: 3] = True
    return y, observed


@every_model
def test_unobserved_values_reach_neither_posterior_nor_gradient(
    name: str, generator: torch.Generator
) -> None:
    model = randomised(build(name), generator)
    y, observed = sparse(generator)
    observed[0] = False

    def run(y: Tensor) -> list[Tensor]:
        loss = own_loss(name, model, y, observed)
        gradients = torch.autograd.grad(loss.sum(), list(model.parameters()))
        return [model.posterior(y, observed).loc, loss, *gradients]

    swapped = run(torch.where(observed, y, torch.nan))

    assert_same(swapped, run(y))
    assert all(part.isfinite().all() for part in swapped)


@every_model
def test_patch_with_nothing_observed_has_the_prior_and_costs_nothing(
    name: str, generator: torch.Generator
) -> None:
    model = randomised(build(name), generator)
    y = torch.full((2, 1, *GRID), torch.nan)
    observed = torch.zeros(y.shape, dtype=torch.bool)

    q = model.posterior(y, observed)
    loss = negative_elbo(model, y, observed, draws=2, beta=1.0, generator=generator)

    assert (q.loc == 0).all()
    assert_close(loss, torch.zeros(2), rtol=0, atol=1e-4)


@every_model
def test_decoding_keeps_draws_rows_and_grid_apart(name: str, generator: torch.Generator) -> None:
    model = randomised(build(name), generator)
    y, observed = sparse(generator)
    z = model.posterior(y, observed).sample(2, generator)

    decoded = model.decode(z)

    assert decoded.shape == (2, *y.shape)
    assert_close(decoded[1, 2], model.decode(z[1:, 2:])[0, 0], rtol=1e-4, atol=1e-5)


@every_model
def test_densities_of_voxels_are_centred_on_what_is_decoded(
    name: str, generator: torch.Generator
) -> None:
    model = randomised(build(name), generator)
    y, observed = sparse(generator)
    blind = torch.zeros_like(observed)

    z = model.posterior(y, observed).sample(2, generator)
    p, recovered = model.likelihood(z), model.recovery(y, blind).voxels(z)

    assert_close(p.loc, model.decode(z))
    assert_close(recovered.loc, model.decode(z))
    assert (p.scale > 0).all()
    assert (recovered.scale <= p.scale).all()  # noise that is known to be noise is left out


@every_model
def test_recovery_draws_its_latent_variables_from_the_posterior(
    name: str, generator: torch.Generator
) -> None:
    model = randomised(build(name), generator).eval()
    y, observed = sparse(generator)

    recovery = model.recovery(y, observed)

    z = recovery.latent.sample(2, stream(0, "z"))
    assert_same(z, model.posterior(y, observed).sample(2, stream(0, "z")))
    blank = torch.where(observed, y, torch.nan)
    assert_same(recovery.voxels(z).loc, model.recovery(blank, observed).voxels(z).loc)


@every_model
def test_what_is_observed_moves_the_posterior(name: str, generator: torch.Generator) -> None:
    model = randomised(build(name), generator)
    y, observed = sparse(generator)
    everywhere = model.posterior(y, torch.ones_like(observed)).loc

    assert not torch.equal(model.posterior(y, observed).loc, everywhere)
    assert not torch.equal(model.posterior(y + 1, observed).loc, model.posterior(y, observed).loc)


@every_model
def test_patches_with_two_axes_are_accepted(name: str, generator: torch.Generator) -> None:
    model = build(name, patch=(24, 12))
    y, observed = sparse(generator, (24, 12))

    q = model.posterior(y, observed)

    assert model.decode(q.loc[None]).shape == (1, *y.shape)


@every_model
def test_defaults_build_a_model_of_the_patch_they_name(
    name: str, generator: torch.Generator
) -> None:
    model = models.build(name, {}, seed=0)
    (y, observed) = sparse(generator, model.patch, batch=2)

    with torch.no_grad():
        q = model.posterior(y, observed)
        decoded = model.decode(q.loc[None])

    assert decoded.shape == (1, *y.shape)
    assert decoded.isfinite().all()


@every_model
def test_few_steps_reduce_the_loss(name: str, generator: torch.Generator) -> None:
    model = build(name)
    ramp = torch.linspace(0, 1, 12)
    tilt = torch.randn(4, 3, generator=generator)
    axes = (ramp[:, None, None], ramp[None, :, None], ramp[None, None])
    y = sum(tilt[:, n].view(4, 1, 1, 1) * axis for n, axis in enumerate(axes))[:, None]
    _, observed = sparse(generator, batch=4)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)

    def loss() -> Tensor:
        return own_loss(name, model, y, observed).mean()

    before = loss().detach()
    for _ in range(12):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    assert loss() < before - 100


@every_model
def test_same_seed_draws_the_same_parameters(name: str) -> None:
    first, second = (build(name).state_dict() for _ in range(2))
    other = models.build(name, SMALL.get(name, {}), seed=1).state_dict()

    assert_same(first, second)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@every_model
def test_noise_level_is_a_parameter_that_starts_as_configured(name: str) -> None:
    model = build(name, sigma=0.2)

    model.sigma.log().backward()

    assert math.isclose(float(model.sigma.detach()), 0.2, rel_tol=1e-6)


@every_model
def test_unknown_setting_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.sigmma") as failure:
        build(name, sigmma=1.0)

    assert "'sigma'" in failure.value.hint


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ppca", {"patch": [3, 3], "latents": 9}),
        ("mixture-ppca", {"patch": [3, 3], "latents": 9}),
        ("mixture-ppca", {"patch": [3, 3], "latents": 2, "components": 0}),
        ("ppca", {"patch": [24], "latents": 3}),
        ("ppca", {"patch": [2, 3, 4, 5], "latents": 3}),
        ("ppca-em", {"patch": [-6, -6], "latents": 3}),
        ("mvae", {"patch": [-6, -6]}),
        ("conv-zero", {"patch": [-24, -24]}),
        ("conv-zero", {"patch": [0, 24]}),
        ("conv-zero", {"latents": 0}),
        ("conv-mean", {"channels": 0}),
        ("conv-interp", {"widest": 0}),
        ("conv-fc-sparse", {"latents": 0}),
        ("local-sparse", {"block": 0}),
        ("local-sparse", {"channels": -1}),
        ("conv-sparse", {"patch": [22, 24, 24]}),
        ("conv-sparse", {"patch": [24]}),
        ("conv-interp", {"patch": [22, 24, 24]}),
        ("conv-fc-sparse", {"patch": [22, 24, 24]}),
        ("local-sparse", {"patch": [20, 24, 24]}),
        ("local-sparse", {"patch": [24]}),
        ("mvae", {"patch": [24]}),
        ("miwae", {"patch": [22, 24], "architecture": "conv"}),
        ("tae", {"patch": [20, 24], "architecture": "conv", "prior_levels": 3}),
    ],
)
def test_impossible_sizes_are_refused(name: str, settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"must (be|have)"):
        models.build(name, settings, seed=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scale": 0.01}, "scale must be above floor >= 0, got 0.01 and 0.02"),
        ({"sigma": 0.0}, "sigma must be above 0"),
        ({"gamma": 1.5}, "gamma must be in 0 to 1"),
        ({"strength": -1.0}, "strength must be at least 0"),
    ],
)
def test_error_names_the_setting_that_is_wrong(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        models.build("tae", wrong, seed=0)


def test_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="no model is called 'vea'") as failure:
        models.build("vea", {}, seed=0)

    assert "ppca" in failure.value.hint
