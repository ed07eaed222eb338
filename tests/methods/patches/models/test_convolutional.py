"""Tests of the models that differ in how their encoder looks at gaps."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from mriimpute.methods.patches import models
from mriimpute.methods.patches.layers.fill import fill_linear, fill_zero
from mriimpute.seeds import stream

assert_same = partial(assert_close, rtol=0, atol=0)
FILLED = ["conv-zero", "conv-mean", "conv-interp", "conv-interp-wmask"]


def build(name: str, **settings: object) -> models.Model:
    """Returns a small model with every parameter off its initial value."""
    small = {"patch": (8, 12), "levels": 2, "channels": 4, "latents": 3}
    model = models.build(name, {**small, **settings}, seed=0)
    generator = stream(0, "randomised")
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def sparse(generator: torch.Generator, batch: int = 4) -> tuple[Tensor, Tensor]:
    y = torch.rand(batch, 1, 8, 12, generator=generator)
    return y, torch.rand(y.shape, generator=generator) < 0.3


@pytest.mark.parametrize(
    ("name", "fill"), [("conv-zero", fill_zero), ("conv-interp", fill_linear)]
)
def test_gaps_count_as_observed_once_filled(
    name: str, fill: partial[Tensor], generator: torch.Generator
) -> None:
    model = build(name)
    y, observed = sparse(generator)

    q = model.posterior(y, observed)

    assert_same(q.loc, model.posterior(fill(y, observed), torch.ones_like(observed)).loc)


def test_observed_map_as_an_input_tells_gaps_from_observations(
    generator: torch.Generator,
) -> None:
    model = build("conv-interp-wmask")
    y, observed = sparse(generator)
    filled = fill_linear(y, observed)

    q = model.posterior(y, observed)

    assert not torch.equal(q.loc, model.posterior(filled, torch.ones_like(observed)).loc)


def test_gaps_take_the_mean_of_the_cohort(generator: torch.Generator) -> None:
    model = build("conv-mean")
    y, observed = sparse(generator, batch=24)
    for part, seen in zip(y.split(6), observed.split(6), strict=True):
        model.posterior(torch.where(seen, part, torch.nan), seen)

    q = model.eval().posterior(y, observed)

    mean = np.ma.masked_array(y.double().numpy(), ~observed.numpy()).mean(0)
    filled = torch.where(observed, y, torch.from_numpy(mean.filled(np.nan)).float())
    assert_close(q.loc, model.posterior(filled, torch.ones_like(observed)).loc)


@pytest.mark.parametrize("name", FILLED)
def test_single_voxel_moves_every_site_of_the_latent_field(
    name: str, generator: torch.Generator
) -> None:
    y = torch.rand(1, 1, 8, 12, generator=generator)
    observed = torch.zeros(y.shape, dtype=torch.bool)
    observed[0, 0, 0, 0] = True

    q = build(name).posterior(y, observed)

    assert (q.loc != 0).all()
    assert (q.scale != 1).all()


def test_fully_connected_layer_projects_what_is_fully_observed(
    generator: torch.Generator,
) -> None:
    model = build("conv-fc-sparse").double()
    y = torch.rand(4, 1, 8, 12, generator=generator, dtype=torch.float64)
    observed = torch.ones(y.shape, dtype=torch.bool)

    q = model.posterior(y, observed)

    layer = model.dense.subspaces
    w, mu = layer.w[0].flatten(0, 1), layer.mu[0].flatten()
    h = model.encoder(y, observed)[0].flatten(1) - mu
    ridge = layer.log_variance.exp()
    rows = torch.cat([w, ridge.sqrt() * torch.eye(3)])  # ridge regression as least squares
    expected = torch.linalg.lstsq(rows, nn.functional.pad(h, (0, 3)).mT).solution.mT
    assert_close(q.loc, expected, rtol=1e-9, atol=1e-9)


def test_fewer_observations_of_the_layer_bring_its_posterior_closer_to_the_prior(
    generator: torch.Generator,
) -> None:
    model = build("conv-fc-sparse", patch=(32, 32))
    y = torch.rand(1, 1, 32, 32, generator=generator)
    some = torch.zeros(y.shape, dtype=torch.bool)
    some[..., :4, :4] = True

    few, all_of_it = (model.posterior(y, seen).scale for seen in (some, torch.ones_like(some)))

    assert (all_of_it < few).all()
    assert (few < 1).all()


@pytest.mark.parametrize("name", ["conv-sparse", "conv-interp", "conv-fc-sparse"])
def test_channels_stop_doubling_at_the_widest(name: str) -> None:
    model = build(name, patch=(16, 16), levels=4, channels=4, widest=8)

    sizes = {parameter.shape[0] for parameter in model.encoder.parameters()}

    assert sizes == {4, 8}
