"""Tests for mriimpute.inference.em."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from mriimpute.inference.em import em_step
from mriimpute.inference.evidence import negative_log_evidence
from mriimpute.models.ppca import Config, Ppca


@pytest.fixture
def planted(generator: torch.Generator) -> tuple[Ppca, Tensor, Tensor]:
    """Returns a subspace, and patches drawn from it of which 60 % is observed."""
    truth = Config(patch=(4, 5), latents=3, sigma=0.1).build().double()
    torch.nn.init.normal_(truth.w, generator=generator)
    torch.nn.init.normal_(truth.mu, generator=generator)
    z = torch.randn(1, 400, 3, generator=generator, dtype=torch.float64)
    y = truth.decode(z)[0].detach()
    y = y + 0.1 * torch.randn(y.shape, generator=generator, dtype=torch.float64)
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

    for _ in range(60):
        em_step(model, [(y, observed)], kappa=1e-2)

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
