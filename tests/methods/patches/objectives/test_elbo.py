"""Tests for mriimpute.methods.patches.objectives.elbo."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from mriimpute.layers.density import DiagonalGaussian
from mriimpute.methods.patches import models
from mriimpute.methods.patches.models.ppca import Config, Ppca
from mriimpute.methods.patches.objectives.elbo import negative_elbo, negative_log_likelihood
from mriimpute.methods.patches.objectives.evidence import negative_log_evidence
from mriimpute.seeds import stream

assert_near = partial(assert_close, rtol=1e-9, atol=1e-9)
LATENTS = 3


@pytest.fixture
def model(generator: torch.Generator) -> Ppca:
    model = Config(patch=(3, 4), latents=LATENTS, sigma=0.3).build().double()
    torch.nn.init.normal_(model.w, generator=generator)
    torch.nn.init.normal_(model.mu, generator=generator)
    return model


def sparse(generator: torch.Generator, fraction: float) -> tuple[Tensor, Tensor]:
    y = torch.randn(4, 1, 3, 4, generator=generator, dtype=torch.float64)
    observed = torch.rand(4, 1, 3, 4, generator=generator) < fraction
    return torch.where(observed, y, torch.nan), observed


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_bound_is_the_evidence_where_the_posterior_is_exact(
    model: Ppca, fraction: float, generator: torch.Generator
) -> None:
    y, observed = sparse(generator, fraction)
    q = model.posterior(y, observed)
    # The mean over these 2 m points of a quadratic function is its mean under N(0, I).
    axes = LATENTS**0.5 * torch.eye(LATENTS, dtype=torch.float64)
    points = torch.cat([axes, -axes])[:, None].expand(-1, 4, -1)

    z = q.transport(points)
    bound = negative_log_likelihood(model, z, y, observed).mean(0) + q.kl_to_standard()

    assert_near(bound, negative_log_evidence(model, y, observed))


def test_any_draw_of_an_exact_posterior_gives_the_evidence(
    model: Ppca, generator: torch.Generator
) -> None:
    y, observed = sparse(generator, 0.5)
    q = model.posterior(y, observed)
    z = q.sample(5, generator)
    prior = DiagonalGaussian(torch.zeros_like(q.loc), torch.ones_like(q.loc))

    log_ratio = q.log_prob(z) - prior.log_prob(z)
    evidence = negative_log_likelihood(model, z, y, observed) + log_ratio

    assert_near(evidence, negative_log_evidence(model, y, observed).expand(5, -1))


def test_draws_estimate_the_bound_without_bias(model: Ppca, generator: torch.Generator) -> None:
    y, observed = sparse(generator, 0.5)

    loss = negative_elbo(model, y, observed, draws=20_000, beta=1.0, generator=generator)

    assert_close(loss, negative_log_evidence(model, y, observed), rtol=0.02, atol=0.1)


@pytest.mark.parametrize("name", ["conv-sparse", "local-sparse"])
def test_loss_is_the_formula_voxel_by_voxel(name: str, generator: torch.Generator) -> None:
    model = models.build(name, {"patch": [24, 24], "channels": 2, "latents": 2}, seed=0).double()
    y = torch.randn(2, 1, 24, 24, generator=generator, dtype=torch.float64)
    observed = torch.rand(2, 1, 24, 24, generator=generator) < 0.3

    loss = negative_elbo(model, y, observed, draws=3, beta=0.7, generator=stream(0, "z"))

    q = model.posterior(y, observed)
    f = model.decode(q.sample(3, stream(0, "z")))
    normal = torch.distributions.Normal(f, model.sigma)
    terms = torch.where(observed, -normal.log_prob(y), 0.0).flatten(2).sum(-1).mean(0)
    divergence = torch.distributions.kl_divergence(
        torch.distributions.Normal(q.loc, q.scale), torch.distributions.Normal(0.0, 1.0)
    )
    assert_near(loss, terms + 0.7 * divergence.sum(-1))


def test_best_noise_level_is_the_size_of_the_residuals(generator: torch.Generator) -> None:
    """Without the term |O| log sigma^2 of the exact loss it would be infinite."""
    model = Config(patch=(8, 8), latents=1, sigma=1.0).build().double()
    torch.nn.init.zeros_(model.w)
    y = 0.2 * torch.randn(4, 1, 8, 8, generator=generator, dtype=torch.float64)
    observed = torch.rand(4, 1, 8, 8, generator=generator) < 0.5

    model.noise.assign(float(y[observed].square().mean().sqrt()))
    loss = negative_elbo(model, y, observed, draws=1, beta=1.0, generator=generator)
    (slope,) = torch.autograd.grad(loss.sum(), model.noise.log_excess)

    assert_close(slope, torch.zeros(()).double(), rtol=0, atol=1e-6)


def test_bound_holds_whatever_part_is_shown_and_is_tight_where_all_is(
    generator: torch.Generator,
) -> None:
    """Of a Gaussian subspace, whose evidence and posteriors are known."""
    model = Config(patch=(4, 5), latents=2).build()
    model.w.data.normal_(generator=generator)
    y = torch.rand(3, 1, 4, 5, generator=generator)
    observed = torch.rand(y.shape, generator=generator) < 0.8
    part = observed & (torch.rand(y.shape, generator=generator) < 0.4)

    evidence = negative_log_evidence(model, y, observed)
    bound = partial(negative_elbo, model, y, observed, draws=4000, beta=1.0)
    whole, less = (bound(generator=generator, shown=shown) for shown in (observed, part))

    assert_close(whole, evidence, rtol=0.02, atol=0.1)
    assert (less > evidence + 0.5).all()
    assert_close(bound(generator=stream(0, "z")), bound(generator=stream(0, "z"), shown=observed))
