"""Tests for mriimpute.methods.patches.objectives.evidence."""

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal
from torch.testing import assert_close

from mriimpute.methods.patches.models.ppca import Config, Ppca
from mriimpute.methods.patches.objectives.evidence import negative_log_evidence


def example(fraction: float, generator: torch.Generator) -> tuple[Ppca, Tensor, Tensor]:
    model = Config(patch=(2, 3, 2), latents=4, sigma=0.3).build().double()
    torch.nn.init.normal_(model.w, generator=generator)
    torch.nn.init.normal_(model.mu, generator=generator)
    y = torch.randn(5, 1, 2, 3, 2, generator=generator, dtype=torch.float64)
    return model, y, torch.rand(y.shape, generator=generator) < fraction


@pytest.mark.parametrize("fraction", [0.1, 0.6, 1.0])
def test_evidence_is_the_marginal_density_of_the_observed_voxels(
    fraction: float, generator: torch.Generator
) -> None:
    model, y, observed = example(fraction, generator)
    observed[:, :, 0, 0, 0] = True  # the reference cannot handle a row without voxels
    expected = []
    for row, o in zip(y.flatten(1), observed.flatten(1), strict=True):
        w = model.w[o]
        covariance = w @ w.mT + model.sigma**2 * torch.eye(len(w), dtype=w.dtype)
        expected.append(-MultivariateNormal(model.mu[o], covariance).log_prob(row[o]))

    loss = negative_log_evidence(model, torch.where(observed, y, torch.nan), observed)

    assert_close(loss, torch.stack(expected), rtol=1e-9, atol=1e-9)


def test_patch_without_observed_voxels_costs_nothing(generator: torch.Generator) -> None:
    model, y, observed = example(0.0, generator)

    loss = negative_log_evidence(model, torch.full_like(y, torch.nan), observed)
    gradients = torch.autograd.grad(loss.sum(), list(model.parameters()))

    assert_close(loss, torch.zeros(5).double(), rtol=0, atol=1e-12)
    for gradient in gradients:
        assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12)


def test_gradient_equals_finite_differences(generator: torch.Generator) -> None:
    model, y, observed = example(0.5, generator)
    names, values = zip(*model.named_parameters(), strict=True)
    y = torch.where(observed, y, torch.nan)

    def run(*values: Tensor) -> Tensor:
        for name, value in zip(names, values, strict=True):
            owner = model.noise if name.startswith("noise.") else model
            owner._parameters[name.removeprefix("noise.")] = value
        return negative_log_evidence(model, y, observed)

    assert torch.autograd.gradcheck(run, values)


def test_float32_is_close_to_float64_on_a_patch_of_default_size(
    generator: torch.Generator,
) -> None:
    model = Config().build()
    z = torch.randn(4, 64, generator=generator)
    y = model.decode(z[None])[0].detach()
    y = y + 0.1 * torch.randn(y.shape, generator=generator)
    observed = torch.zeros(y.shape, dtype=torch.bool)
    observed[..., ::6] = True

    single = negative_log_evidence(model, y, observed)
    double = negative_log_evidence(model.double(), y.double(), observed)

    assert_close(single.double(), double, rtol=0, atol=0.05)  # nats per patch of 288 voxels
