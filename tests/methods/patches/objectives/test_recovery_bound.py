"""Tests for mriimpute.methods.patches.objectives.recovery_bound."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from mriimpute.methods.patches import models
from mriimpute.methods.patches.models.ppca import Config, Ppca
from mriimpute.methods.patches.objectives.evidence import negative_log_evidence
from mriimpute.methods.patches.objectives.recovery_bound import recovery_bound
from mriimpute.seeds import stream


def subspace(generator: torch.Generator) -> Ppca:
    model = Config(patch=(3, 4), latents=2, sigma=0.3).build().double()
    torch.nn.init.normal_(model.w, std=0.5, generator=generator)
    torch.nn.init.normal_(model.mu, generator=generator)
    return model


def pairs(model: Ppca, generator: torch.Generator, share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Returns patches of the model itself, and what is observed of them."""
    z = torch.randn(1, 40, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(40, 1, 3, 4, generator=generator, dtype=torch.float64)
    x = (model.decode(z)[0] + model.sigma * noise).detach()
    observed = torch.rand(x.shape, generator=generator) < share
    return x, torch.where(observed, x, torch.nan), observed


def exact(model: Ppca, x: Tensor, y: Tensor, observed: Tensor) -> Tensor:
    """Returns log q(x | y) of a Gaussian subspace, one row after the other."""
    q = model.posterior(y, observed)
    rows = []
    for n in range(len(x)):
        root = model.w @ q.tril[n]
        covariance = root @ root.mT + model.sigma.square() * torch.eye(12).double()
        density = torch.distributions.MultivariateNormal(
            model.decode(q.loc[None])[0, n].flatten(), covariance
        )
        rows.append(density.log_prob(x[n].flatten()))
    return torch.stack(rows).detach()


def test_bound_stays_below_the_density_and_comes_close(generator: torch.Generator) -> None:
    """The encoder sees the truth and not y, so a little is left to the gap."""
    model = subspace(generator)
    x, y, observed = pairs(model, generator, 0.3)
    truth = exact(model, x, y, observed)

    untrained, trained = (
        recovery_bound(
            model, x, y, observed, steps=steps, rate=0.05, batch=40, generator=stream(0, "b")
        )
        for steps in (0, 80)
    )

    assert trained.nats < float(truth.mean()) + 0.02
    assert untrained.nats < trained.nats
    assert float(truth.mean()) - trained.nats < 0.5
    assert trained.trace[-20:].mean() > trained.trace[:20].mean()
    assert_close(trained.nats, float(trained.per_patch.mean()))


def test_bound_is_the_evidence_where_nothing_was_observed(generator: torch.Generator) -> None:
    """q(z | y) is then the prior, and the exact encoder of the truth is where the fit starts."""
    model = subspace(generator)
    x, y, observed = pairs(model, generator, 0.0)

    bound = recovery_bound(model, x, y, observed, steps=0, rate=0.01, batch=7, generator=generator)

    evidence = -negative_log_evidence(model, x, torch.ones_like(observed))
    assert_close(bound.per_patch, evidence.detach(), rtol=1e-8, atol=1e-8)
    assert_close(evidence.detach(), exact(model, x, y, observed), rtol=1e-8, atol=1e-8)
    assert len(bound.trace) == 0


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("mvae", {"hidden": 8, "latents": 3}),
        ("miwae", {"architecture": "conv", "channels": 3, "latents": 2}),
        ("tae", {"architecture": "conv", "channels": 3, "latents": 2, "skip": True}),
        ("conv-sparse", {"channels": 2, "latents": 2}),
        ("local-sparse", {"channels": 2, "latents": 3, "levels": 1}),
    ],
)
def test_fit_tightens_the_bound_and_leaves_the_model_alone(
    name: str, settings: dict[str, Any], generator: torch.Generator
) -> None:
    model = models.build(name, {"patch": (8, 4), **settings}, seed=0)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x = torch.rand(16, 1, 8, 4, generator=generator)
    observed = torch.rand(x.shape, generator=generator) < 0.5
    y = torch.where(observed, x, torch.nan)

    first, last = (
        recovery_bound(
            model, x, y, observed, steps=steps, rate=5e-3, batch=16, generator=stream(0, "b")
        )
        for steps in (1, 30)
    )

    assert last.nats > first.nats
    assert last.trace.shape == (30,)
    for key, value in model.state_dict().items():
        assert_close(value, before[key], rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in model.parameters())
