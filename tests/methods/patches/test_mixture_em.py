"""Tests for mriimpute.methods.patches.mixture_em."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from mriimpute.methods.patches.em import em_step
from mriimpute.methods.patches.mixture_em import begin_mixture, mixture_step
from mriimpute.methods.patches.models.mixture_ppca import Config, MixturePpca
from mriimpute.methods.patches.objectives.evidence import negative_log_evidence

Planted = tuple[MixturePpca, Tensor, Tensor, Tensor]


@pytest.fixture
def planted(generator: torch.Generator) -> Planted:
    """Returns two subspaces far apart, patches of either, 60 % observed, and of which they are."""
    truth = mixture(2, sigma=0.1)
    for subspace in truth.subspaces:
        torch.nn.init.normal_(subspace.w, generator=generator)
        torch.nn.init.normal_(subspace.mu, generator=generator)
    truth.subspaces[1].mu += 5
    of_second = torch.rand(400, generator=generator) < 0.3
    z = torch.randn(1, 400, 2, generator=generator, dtype=torch.float64)
    first, second = (subspace.decode(z)[0] for subspace in truth.subspaces)
    y = torch.where(of_second[:, None, None, None], second, first)
    y = y + 0.1 * torch.randn(y.shape, generator=generator, dtype=torch.float64)
    observed = torch.rand(y.shape, generator=generator) < 0.6
    return truth, torch.where(observed, y, torch.nan), observed, of_second


def mixture(components: int, *, sigma: float = 0.5) -> MixturePpca:
    config = Config(patch=(4, 5), latents=2, components=components, sigma=sigma)
    return config.build().double().requires_grad_(requires_grad=False)


def evidence_of(model: MixturePpca, y: Tensor, observed: Tensor) -> float:
    return -float(negative_log_evidence(model, y, observed).mean())


@pytest.mark.parametrize("components", [2, 4])
def test_no_iteration_lowers_the_evidence(planted: Planted, components: int) -> None:
    _, y, observed, _ = planted
    model = mixture(components)
    begin_mixture(model, [(y, observed)])

    trace = [mixture_step(model, [(y, observed)], kappa=0.0) for _ in range(15)]

    assert (torch.tensor(trace).diff() > -1e-9).all()
    assert trace[-1] > trace[0] + 10


def test_two_components_that_lie_apart_are_recovered(planted: Planted) -> None:
    truth, y, observed, of_second = planted
    model = mixture(2)
    begin_mixture(model, [(y, observed)])

    for _ in range(20):
        mixture_step(model, [(y, observed)], kappa=1e-2)

    shares = model.posterior(y, observed).log_responsibilities.exp()
    assert_close(shares[:, 1], of_second.double(), rtol=0, atol=1e-6)  # the brighter one is last
    assert float(model.log_prior.exp()[1]) == pytest.approx(float(of_second.double().mean()))
    assert evidence_of(model, y, observed) > evidence_of(truth, y, observed)
    for ours, theirs in zip(model.subspaces, truth.subspaces, strict=True):
        bases = [torch.linalg.qr(part.w).Q for part in (ours, theirs)]
        assert torch.linalg.svdvals(bases[0].mT @ bases[1]).min() > 0.999
        assert_close(ours.sigma, theirs.sigma, rtol=0.05, atol=0)


def test_one_component_is_fitted_like_the_subspace(planted: Planted) -> None:
    _, y, observed, _ = planted
    model, other = mixture(1), mixture(1)
    other.load_state_dict(model.state_dict())
    (alone,) = other.subspaces

    before = mixture_step(model, [(y, observed)], kappa=0.1)
    expected = em_step(alone, [(y, observed)], kappa=0.1)

    assert before == pytest.approx(expected, rel=1e-12)
    assert_close(model.subspaces[0].state_dict(), alone.state_dict(), rtol=1e-9, atol=1e-9)


def test_step_returns_the_evidence_before_it(planted: Planted) -> None:
    _, y, observed, _ = planted
    model = mixture(3)
    begin_mixture(model, [(y, observed)])
    before = evidence_of(model, y, observed)

    assert mixture_step(model, [(y, observed)], kappa=0.1) == pytest.approx(before, rel=1e-9)


def test_batches_add_up(planted: Planted) -> None:
    _, y, observed, _ = planted
    whole, parts = mixture(2), mixture(2)
    parts.load_state_dict(whole.state_dict())
    batches = list(zip(y.split(64), observed.split(64), strict=True))

    for model, data in ((whole, [(y, observed)]), (parts, batches)):
        begin_mixture(model, data)
        mixture_step(model, data, kappa=0.1)

    assert_close(parts.state_dict(), whole.state_dict(), rtol=1e-9, atol=1e-9)


def test_component_without_patches_stays_as_it_is(planted: Planted) -> None:
    _, y, observed, _ = planted
    model = mixture(2)
    model.subspaces[1].mu.fill_(1000.0)
    before = {key: value.clone() for key, value in model.subspaces[1].state_dict().items()}

    mixture_step(model, [(y, observed)], kappa=0.0)

    assert_close(dict(model.subspaces[1].state_dict()), before, rtol=0, atol=0)
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert evidence_of(model, y, observed) > -1e3


def test_unobserved_values_change_no_bit(planted: Planted) -> None:
    _, y, observed, _ = planted
    models = [mixture(2), mixture(2)]
    models[1].load_state_dict(models[0].state_dict())

    for model, values in zip(models, (y, torch.where(observed, y, 7.0)), strict=True):
        begin_mixture(model, [(values, observed)])
        mixture_step(model, [(values, observed)], kappa=0.1)

    assert_close(models[1].state_dict(), models[0].state_dict(), rtol=0, atol=0)
