"""Tests for mriimpute.methods.patches.models.mixture_ppca."""

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal
from torch.testing import assert_close

from mriimpute.methods.patches.models.mixture_ppca import Config, MixturePpca
from mriimpute.methods.patches.objectives.importance import log_weights
from mriimpute.seeds import stream

Example = tuple[MixturePpca, Tensor, Tensor]


def example(generator: torch.Generator, components: int = 3) -> Example:
    """Returns components that differ in everything, and patches that could be of any of them."""
    config = Config(patch=(2, 3, 2), latents=2, components=components, sigma=0.5)
    model = config.build().double().requires_grad_(requires_grad=False)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter += 0.5 * noise
    y = torch.randn(5, 1, 2, 3, 2, generator=generator, dtype=torch.float64)
    observed = torch.rand(y.shape, generator=generator) < 0.5
    observed[:, :, 0, 0, 0] = True  # the reference cannot handle a row without voxels
    return model, torch.where(observed, y, torch.nan), observed


def test_evidence_and_responsibilities_are_those_of_a_mixture_of_gaussians(
    generator: torch.Generator,
) -> None:
    model, y, observed = example(generator)
    joint = torch.empty(len(y), 3, dtype=torch.float64)
    for row, (values, o) in enumerate(zip(y.flatten(1), observed.flatten(1), strict=True)):
        for k, subspace in enumerate(model.subspaces):
            w = subspace.w[o]
            covariance = w @ w.mT + subspace.sigma**2 * torch.eye(len(w), dtype=w.dtype)
            density = MultivariateNormal(subspace.mu[o], covariance)
            joint[row, k] = density.log_prob(values[o]) + torch.log_softmax(model.logits, 0)[k]

    q = model.posterior(y, observed)

    assert_close(q.log_evidence, joint.logsumexp(-1), rtol=1e-9, atol=1e-9)
    assert_close(q.log_responsibilities, torch.log_softmax(joint, -1), rtol=1e-9, atol=1e-9)


def test_bayes_holds_for_every_draw(generator: torch.Generator) -> None:
    """The terms log p(y_O | z, u) + log p(z, u) - log p(z, u | y_O) are the evidence."""
    model, y, observed = example(generator)
    q = model.posterior(y, observed)

    gained = log_weights(model, q, q.sample(50, generator), y, observed)

    assert_close(gained, q.log_evidence.expand_as(gained), rtol=1e-9, atol=1e-9)


def test_draws_choose_components_by_their_responsibilities(generator: torch.Generator) -> None:
    model, y, observed = example(generator)
    q = model.posterior(y, observed)

    z = q.sample(20_000, generator)

    levels = torch.stack([subspace.sigma for subspace in model.subspaces])
    chosen = model.likelihood(z).scale[..., 0, 0, 0, 0, None] == levels
    assert_close(chosen.double().mean(0), q.log_responsibilities.exp(), rtol=0, atol=0.015)
    assert_close(z.mean(0)[:, :-1], q.loc[:, :-1], rtol=0, atol=0.03)


def test_moments_are_those_of_many_draws(generator: torch.Generator) -> None:
    model, y, observed = example(generator)
    q = model.posterior(y, observed)
    p = model.likelihood(q.sample(20_000, generator))

    moments = model.moments(q)

    assert_close(moments.mean, p.loc.mean(0), rtol=0, atol=0.06)
    assert_close(moments.within, p.loc.var(0), rtol=0.06, atol=0)
    assert_close(moments.noise, p.scale.square().mean(0), rtol=0.06, atol=0)


def test_bound_is_tight(generator: torch.Generator) -> None:
    model, y, observed = example(generator)
    q = model.posterior(y, observed)
    z = q.sample(20_000, generator)
    prior = -0.5 * (z.square() + torch.log(torch.tensor(2 * torch.pi))).sum(-1)

    estimate = (q.log_prob(z) - prior).mean(0)

    assert_close(q.kl_to_standard(), estimate, rtol=0, atol=0.06)


def test_patch_with_nothing_observed_has_the_prior(generator: torch.Generator) -> None:
    model, y, observed = example(generator)

    q = model.posterior(torch.full_like(y, torch.nan), torch.zeros_like(observed))

    zero = torch.zeros(5, dtype=torch.float64)
    assert_close(q.log_responsibilities, q.log_prior.expand(5, -1), rtol=0, atol=1e-12)
    assert_close(q.log_evidence, zero, rtol=0, atol=1e-12)
    assert_close(q.kl_to_standard(), zero, rtol=0, atol=1e-12)


def test_one_component_is_the_subspace(generator: torch.Generator) -> None:
    model, y, observed = example(generator, components=1)
    (subspace,) = model.subspaces

    q, alone = model.posterior(y, observed), subspace.posterior(y, observed)
    z = q.sample(3, stream(0, "z"))

    assert_close(q.log_evidence, subspace.log_evidence(alone, y, observed))
    assert_close(q.loc[:, :-1], alone.loc)
    assert_close(model.decode(z), subspace.decode(z[..., :-1]))
    ours, theirs = model.moments(q), subspace.moments(alone)
    assert_close(ours.mean, theirs.mean)
    assert_close(ours.within, theirs.within)
    assert_close(ours.noise, theirs.noise.expand_as(ours.noise))


@pytest.mark.parametrize("rare", [1e-9, 1e-3])
def test_component_of_almost_no_weight_is_told_from_its_neighbours(
    generator: torch.Generator, rare: float
) -> None:
    """In single precision, as in use: its interval of u is narrow."""
    model, y, observed = example(generator)
    model.logits.copy_(torch.tensor([1.0, rare, 1.0]).log())
    model.float()
    q = model.posterior(y.float(), observed)
    shares = torch.tensor([0.0, 1.0, 0.0]).clamp(min=1e-30).log().expand(5, -1)
    certain = type(q)(q.loc, q.components, q.log_prior, shares, q.log_evidence)

    p = model.likelihood(certain.sample(100, generator))

    assert (p.scale == model.subspaces[1].sigma).all()
