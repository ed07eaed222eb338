"""Tests for mriimpute.methods.patches.completion."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from mriimpute.layers.density import DiagonalGaussian
from mriimpute.methods.patches import models
from mriimpute.methods.patches.completion import complete
from mriimpute.methods.patches.models.ppca import Config, Ppca
from mriimpute.seeds import stream

GRID = (4, 8)
SMALL: dict[str, dict[str, Any]] = {
    "mvae": {"hidden": 6, "latents": 3},
    "miwae": {"hidden": 6, "latents": 3, "weights": 5},
    "tae": {"architecture": "conv", "channels": 3, "latents": 2, "skip": True},
}


class Poor(Ppca):
    """A subspace whose q is off by a standard deviation, too wide, and weighed."""

    weights = 20

    def posterior(self, y: Tensor, observed: Tensor) -> DiagonalGaussian:  # type: ignore[override]
        exact = super().posterior(y, observed)
        scale = exact.tril.square().sum(-1).sqrt()
        return DiagonalGaussian(exact.loc + scale, 1.5 * scale)


def subspace(kind: type[Ppca], generator: torch.Generator) -> Ppca:
    model = kind(Config(patch=(3, 4), latents=2, sigma=0.3)).double()
    torch.nn.init.normal_(model.w, std=0.5, generator=generator)
    torch.nn.init.normal_(model.mu, generator=generator)
    return model


def sparse(
    generator: torch.Generator, grid: tuple[int, ...] = (3, 4), **kind: Any
) -> tuple[Tensor, Tensor]:
    y = torch.randn(3, 1, *grid, generator=generator, **kind)
    observed = torch.rand(y.shape, generator=generator) < 0.5
    return torch.where(observed, y, torch.nan), observed


@pytest.mark.parametrize("kind", [Ppca, Poor])
def test_mean_and_draws_have_the_moments_of_the_exact_posterior(
    kind: type[Ppca], generator: torch.Generator
) -> None:
    """Weights make up for a poor q: its own mean is off by a standard deviation."""
    model = subspace(kind, generator)
    y, observed = sparse(generator, dtype=torch.float64)
    exact = Ppca.posterior(model, y, observed)

    made = complete(model, y, observed, samples=2000, generator=generator)

    mean = model.decode(exact.loc[None])[0]
    root = torch.einsum("pd,bde->bpe", model.w, exact.tril)
    variance = root.square().sum(-1).view_as(mean)
    total = variance + model.sigma.square()
    assert_close(made.mean, mean.detach(), rtol=0, atol=0.04)
    assert_close(made.draws.mean(0), mean.detach(), rtol=0, atol=0.05)
    assert_close(made.latent_draws.var(0), variance.detach(), rtol=0.15, atol=1e-3)
    assert_close(made.draws.var(0), total.detach(), rtol=0.15, atol=1e-3)


def test_effective_sample_size_is_reported_where_draws_are_weighed(
    generator: torch.Generator,
) -> None:
    y, observed = sparse(generator, dtype=torch.float64)
    plain, weighed = (
        complete(subspace(kind, stream(0, "w")), y, observed, samples=8, generator=generator)
        for kind in (Ppca, Poor)
    )

    assert plain.ess is None
    assert weighed.ess is not None
    assert ((weighed.ess > 1) & (weighed.ess < 8 * Poor.weights)).all()


@pytest.mark.parametrize("name", SMALL)
def test_any_model_is_completed_whatever_the_unobserved_hold(
    name: str, generator: torch.Generator
) -> None:
    model = models.build(name, {"patch": GRID, **SMALL[name]}, seed=0)
    y, observed = sparse(generator, GRID)

    first, second = (
        complete(model, values, observed, samples=20, generator=stream(0, "z"))
        for values in (y, torch.where(observed, y, 9.0))
    )

    assert first.draws.shape == first.latent_draws.shape == (20, *y.shape)
    assert first.mean.shape == y.shape
    assert (first.ess is None) == (name != "miwae")
    for image, again in ((first.mean, second.mean), (first.draws, second.draws)):
        assert image.isfinite().all()
        assert_close(image, again, rtol=0, atol=0)


def test_known_noise_is_left_out_of_what_is_completed(generator: torch.Generator) -> None:
    y, observed = sparse(generator, GRID)
    blind, knowing = (
        models.build("mvae", {"patch": GRID, "noise": noise, **SMALL["mvae"]}, seed=0)
        for noise in (0.0, 0.5)
    )

    z = torch.zeros(1, 3, 3)
    variances = [model.likelihood(z).scale.square() for model in (blind, knowing)]
    drawn = [
        complete(model, y, observed, samples=3, generator=stream(0, "z")).draws
        for model in (blind, knowing)
    ]

    assert_close(variances[1], variances[0] + 0.25)
    assert_close(drawn[1], drawn[0], rtol=0, atol=0)
