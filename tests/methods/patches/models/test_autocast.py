"""Tests of models in mixed precision, which the package uses on CUDA only."""

import pytest
import torch
from torch.testing import assert_close

from mriimpute.methods.patches import models
from mriimpute.methods.patches.config import PatchTrainingConfig
from mriimpute.methods.patches.objective import objective
from mriimpute.seeds import stream
from mriimpute.training.settings import preset


@pytest.mark.gpu
@pytest.mark.parametrize("name", models.available())
def test_half_precision_gives_the_loss_of_single_precision(name: str) -> None:
    model = models.build(name, {}, seed=0).cuda()
    y = torch.rand(2, 1, *model.patch, generator=stream(0, "y")).cuda()
    observed = torch.rand(y.shape, generator=stream(0, "observed")).cuda() < 0.3
    y = torch.where(observed, y, torch.nan)
    config = PatchTrainingConfig(
        objective=preset(name)["train"].get("objective", "evidence"), draws=2
    )

    def loss(*, half: bool) -> torch.Tensor:
        draws = stream(0, "draws", device="cuda")
        with torch.autocast("cuda", torch.bfloat16, enabled=half):
            return objective(model, y, observed, config, weight=1.0, generator=draws)

    mixed = loss(half=True)
    mixed.sum().backward()

    assert_close(mixed, loss(half=False), rtol=2e-2, atol=0)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
