"""Tests for mriimpute.methods.patches.objectives.importance."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from mriimpute.layers.density import DiagonalGaussian
from mriimpute.methods.patches.models.ppca import Config, Ppca
from mriimpute.methods.patches.objectives.elbo import negative_elbo, negative_log_likelihood
from mriimpute.methods.patches.objectives.evidence import negative_log_evidence
from mriimpute.methods.patches.objectives.importance import (
    effective_sample_size,
    log_weights,
    negative_importance_bound,
    resample,
)
from mriimpute.seeds import stream

assert_near = partial(assert_close, rtol=1e-9, atol=1e-9)
LATENTS = 3


class Factorised(Ppca):
    """A subspace whose q is the exact posterior made independent, and half as wide again."""

    def posterior(self, y: Tensor, observed: Tensor) -> DiagonalGaussian:  # type: ignore[override]
        exact = super().posterior(y, observed)
        variance = exact.tril.square().sum(-1)
        return DiagonalGaussian(exact.loc + 0.2, 1.5 * variance.sqrt())


def built(kind: type[Ppca], generator: torch.Generator) -> Ppca:
    model = kind(Config(patch=(3, 4), latents=LATENTS, sigma=0.3)).double()
    torch.nn.init.normal_(model.w, generator=generator)
    torch.nn.init.normal_(model.mu, generator=generator)
    return model


def sparse(generator: torch.Generator, fraction: float = 0.5) -> tuple[Tensor, Tensor]:
    y = torch.randn(4, 1, 3, 4, generator=generator, dtype=torch.float64)
    observed = torch.rand(4, 1, 3, 4, generator=generator) < fraction
    return torch.where(observed, y, torch.nan), observed


@pytest.mark.parametrize("draws", [1, 2, 20])
def test_bound_is_the_evidence_for_any_number_of_draws_of_an_exact_posterior(
    draws: int, generator: torch.Generator
) -> None:
    model = built(Ppca, generator)
    y, observed = sparse(generator)

    loss = negative_importance_bound(model, y, observed, draws=draws, generator=generator)

    assert_near(loss, negative_log_evidence(model, y, observed))


def test_one_draw_gives_the_evidence_lower_bound(generator: torch.Generator) -> None:
    model = built(Factorised, generator)
    y, observed = sparse(generator)

    many = (part.repeat(4000, 1, 1, 1) for part in (y, observed))

    losses = negative_importance_bound(model, *many, draws=1, generator=generator)

    elbo = negative_elbo(model, y, observed, draws=20_000, beta=1.0, generator=generator)
    assert_close(losses.view(4000, -1).mean(0), elbo, rtol=0.02, atol=0.15)


def test_bound_rises_with_the_number_of_draws_to_the_evidence(generator: torch.Generator) -> None:
    """The gap of a wrong, factorised q is nats wide at K = 1 and below 0.03 at K = 100 000."""
    model = built(Factorised, generator)
    y, observed = sparse(generator)

    exact = built(Ppca, stream(0, "same"))
    exact.load_state_dict(model.state_dict())
    evidence = negative_log_evidence(exact, y, observed)

    gaps = []
    for draws, repeats in ((1, 4000), (10, 1000), (100, 200), (100_000, 1)):
        many = (part.repeat(repeats, 1, 1, 1) for part in (y, observed))
        losses = negative_importance_bound(model, *many, draws=draws, generator=generator)
        gaps.append(losses.view(repeats, -1).mean(0) - evidence)

    assert (gaps[0] > gaps[1]).all()
    assert (gaps[1] > gaps[2]).all()
    assert (gaps[0] > 0.5).all()
    assert_close(gaps[3], torch.zeros_like(gaps[3]), rtol=0, atol=0.03)


def test_weights_are_the_formula_draw_by_draw(generator: torch.Generator) -> None:
    model = built(Factorised, generator)
    y, observed = sparse(generator)
    q = model.posterior(y, observed)
    z = q.sample(3, generator)

    weights = log_weights(model, q, z, y, observed)

    prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    spread = torch.distributions.Normal(q.loc, q.scale).log_prob(z).sum(-1)  # type: ignore[attr-defined]
    assert_near(weights, prior - spread - negative_log_likelihood(model, z, y, observed))


def test_unobserved_values_reach_neither_bound_nor_gradient(generator: torch.Generator) -> None:
    model = built(Factorised, generator)
    y, observed = sparse(generator)

    def run(y: Tensor) -> list[Tensor]:
        loss = negative_importance_bound(model, y, observed, draws=4, generator=stream(0, "z"))
        return [loss, *torch.autograd.grad(loss.sum(), list(model.parameters()))]

    assert_close(run(y), run(torch.where(observed, y, 7.0)), rtol=0, atol=0)


def test_equal_weights_count_all_and_one_weight_counts_one() -> None:
    weights = torch.tensor([[0.0, -100.0, 0.0], [0.0, 3.0, 0.0], [0.0, -100.0, -200.0]])

    assert_close(effective_sample_size(weights), torch.tensor([3.0, 1.0, 2.0]))


def test_draws_are_taken_in_proportion_to_their_weights(generator: torch.Generator) -> None:
    shares = torch.tensor([[0.1, 0.0], [0.6, 0.0], [0.3, 1.0]])
    uniform = torch.rand(20_000, 2, generator=generator)

    chosen = resample(shares.log(), uniform)

    counts = torch.stack([(chosen == k).float().mean(0) for k in range(3)])
    assert_close(counts, shares, rtol=0, atol=0.02)


def test_largest_uniform_number_takes_a_draw_that_exists() -> None:
    weights = torch.full((7, 1), math.log(1 / 7))
    uniform = torch.tensor([[0.0], [1 - 2**-24]])

    assert resample(weights, uniform).tolist() == [[0], [6]]


def test_smallest_uniform_number_takes_no_draw_without_weight() -> None:
    weights = torch.tensor([[-torch.inf], [-1e4], [0.0], [0.0]])

    assert resample(weights, torch.zeros(1, 1)).tolist() == [[2]]
