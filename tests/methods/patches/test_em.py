"""Tests for mriimpute.methods.patches.em."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from mriimpute.methods.patches.em import em_step, fit_em
from mriimpute.methods.patches.models.ppca import Config, Ppca
from mriimpute.methods.patches.objectives.elbo import negative_elbo
from mriimpute.methods.patches.objectives.evidence import negative_log_evidence


@pytest.fixture
def planted(generator: torch.Generator) -> tuple[Ppca, Tensor, Tensor]:
    return planted_subspace(generator, sigma=0.1)


def planted_subspace(generator: torch.Generator, *, sigma: float) -> tuple[Ppca, Tensor, Tensor]:
    """Returns a subspace, and patches drawn from it of which 60 % is observed."""
    truth = Config(patch=(4, 5), latents=3, sigma=sigma).build().double()
    torch.nn.init.normal_(truth.w, generator=generator)
    torch.nn.init.normal_(truth.mu, generator=generator)
    z = torch.randn(1, 400, 3, generator=generator, dtype=torch.float64)
    y = truth.decode(z)[0].detach()
    y = y + sigma * torch.randn(y.shape, generator=generator, dtype=torch.float64)
    observed = torch.rand(y.shape, generator=generator) < 0.6
    return truth, torch.where(observed, y, torch.nan), observed


def start() -> Ppca:
    return Config(patch=(4, 5), latents=3, sigma=0.5).build().double()


def test_no_iteration_lowers_the_evidence(planted: tuple[Ppca, Tensor, Tensor]) -> None:
    _, y, observed = planted
    model = start()

    losses = []
    for _ in range(15):
        losses.append(negative_log_evidence(model, y, observed).sum().detach())
        em_step(model, [(y, observed)], kappa=0.0)

    steps = torch.stack(losses).diff()
    assert (steps < 0).all()


def test_planted_subspace_is_recovered(planted: tuple[Ppca, Tensor, Tensor]) -> None:
    truth, y, observed = planted
    model = start()

    fit_em(model, [(y, observed)], iterations=20, kappa=1e-2)

    basis, expected = (torch.linalg.qr(m.w).Q for m in (model, truth))
    cosines = torch.linalg.svdvals(basis.mT @ expected)
    assert cosines.min() > 0.999
    assert_close(model.sigma, truth.sigma, rtol=0.05, atol=0)
    # Patches cannot tell where in the subspace the mean of z lies: 400 draws of z have one.
    offset = (model.mu - truth.mu).detach()
    across = offset - expected @ (expected.mT @ offset)
    assert_close(across, torch.zeros_like(across), rtol=0, atol=0.05)


def test_batches_add_up(planted: tuple[Ppca, Tensor, Tensor]) -> None:
    _, y, observed = planted
    whole, parts = start(), start()
    parts.load_state_dict(whole.state_dict())

    em_step(whole, [(y, observed)], kappa=0.1)
    em_step(parts, zip(y.split(64), observed.split(64), strict=True), kappa=0.1)

    assert_close(parts.state_dict(), whole.state_dict(), rtol=1e-9, atol=1e-9)


def test_voxel_that_no_patch_observes_is_explained_by_nothing(
    planted: tuple[Ppca, Tensor, Tensor],
) -> None:
    _, y, observed = planted
    model = start()
    observed = observed.clone()
    observed[..., 0, 0] = False

    em_step(model, [(y, observed)], kappa=0.0)

    assert (model.w[0] == 0).all()
    assert model.mu[0] == 0
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_fit_traces_the_evidence_of_every_iteration(
    planted: tuple[Ppca, Tensor, Tensor],
) -> None:
    _, y, observed = planted
    fitted, stepped = start(), start()
    stepped.load_state_dict(fitted.state_dict())
    batches = list(zip(y.split(150), observed.split(150), strict=True))

    trace = fit_em(fitted, batches, iterations=3, kappa=0.1)

    for traced in trace:
        evidence = -negative_log_evidence(stepped, y, observed).mean()
        assert traced == pytest.approx(float(evidence.detach()), rel=1e-9)
        em_step(stepped, batches, kappa=0.1)
    assert len(trace) == 4


def test_where_iterations_end_the_evidence_has_no_slope(
    planted: tuple[Ppca, Tensor, Tensor],
) -> None:
    _, y, observed = planted
    model = start()

    fit_em(model, [(y, observed)], iterations=30, kappa=0.0)

    loss = negative_log_evidence(model, y, observed).mean()
    for slope in torch.autograd.grad(loss, list(model.parameters())):
        assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-8)


def test_subspace_is_the_same_by_em_by_the_evidence_and_by_the_bound(
    generator: torch.Generator,
) -> None:
    """The bound with the exact posterior is estimated from one draw, as in training."""
    _, y, observed = planted_subspace(generator, sigma=0.3)
    em, by_evidence, by_bound = (start() for _ in range(3))
    bound = partial(negative_elbo, draws=1, beta=1.0, generator=generator)

    best = fit_em(em, [(y, observed)], iterations=30, kappa=0.0)[-1]
    descend(by_evidence, negative_log_evidence, y, observed, generator)
    descend(by_bound, bound, y, observed, generator)

    for model in (by_evidence, by_bound):
        evidence = -float(negative_log_evidence(model, y, observed).mean().detach())
        assert best - 0.02 < evidence < best + 1e-6  # nats per patch of 12 voxels
        bases = [torch.linalg.qr(m.w.detach()).Q for m in (model, em)]
        assert torch.linalg.svdvals(bases[0].mT @ bases[1]).min() > 0.9998
        assert_close(model.sigma, em.sigma, rtol=0.02, atol=0)


def descend(
    model: Ppca,
    loss: Callable[[Ppca, Tensor, Tensor], Tensor],
    y: Tensor,
    observed: Tensor,
    generator: torch.Generator,
    *,
    steps: int = 250,
) -> None:
    """Stochastic gradient descent on mini-batches."""
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        rows = torch.randint(len(y), (200,), generator=generator)
        optimiser.zero_grad()
        loss(model, y[rows], observed[rows]).mean().backward()
        optimiser.step()
        decay.step()
