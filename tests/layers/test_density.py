"""Tests for mriimpute.layers.density."""

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence
from torch.testing import assert_close

from mriimpute.layers.density import Density, DiagonalGaussian, FullGaussian

KINDS = ["diagonal", "full"]


def pair(
    kind: str, generator: torch.Generator
) -> tuple[Density, torch.distributions.Distribution]:
    """Returns a density and the same one of torch.distributions."""
    loc = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    scale = 0.2 + torch.rand(3, 4, generator=generator, dtype=torch.float64)
    if kind == "diagonal":
        return DiagonalGaussian(loc, scale), Independent(Normal(loc, scale), 1)
    lower = torch.randn(3, 4, 4, generator=generator, dtype=torch.float64).tril(-1)
    tril = lower + torch.diag_embed(scale)
    return FullGaussian(loc, tril), MultivariateNormal(loc, scale_tril=tril)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("draws", [(), (5,)])
def test_log_prob_is_that_of_the_reference(
    kind: str, draws: tuple[int, ...], generator: torch.Generator
) -> None:
    density, reference = pair(kind, generator)
    x = torch.randn(*draws, 3, 4, generator=generator, dtype=torch.float64)

    assert_close(density.log_prob(x), reference.log_prob(x))


@pytest.mark.parametrize("kind", KINDS)
def test_divergence_is_that_of_the_reference(kind: str, generator: torch.Generator) -> None:
    density, reference = pair(kind, generator)
    zero = torch.zeros(3, 4, dtype=torch.float64)
    standard = (
        Independent(Normal(zero, 1.0), 1)
        if kind == "diagonal"
        else MultivariateNormal(zero, torch.eye(4, dtype=torch.float64))
    )

    assert_close(density.kl_to_standard(), kl_divergence(reference, standard))


@pytest.mark.parametrize("kind", KINDS)
def test_draws_have_the_moments_of_the_density(kind: str, generator: torch.Generator) -> None:
    density, reference = pair(kind, generator)

    x = density.sample(20_000, generator)

    error = 5 * reference.variance.max().sqrt() / 20_000**0.5
    assert_close(x.mean(0), density.loc, rtol=0, atol=float(error))
    assert_close(x.var(0), reference.variance, rtol=0.1, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_same_generator_state_draws_the_same(kind: str, generator: torch.Generator) -> None:
    density, _ = pair(kind, generator)
    state = generator.get_state()

    first = density.sample(2, generator)
    second = density.sample(2, generator.set_state(state))

    assert_close(second, first, rtol=0, atol=0)
