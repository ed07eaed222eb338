"""Tests for mriimpute.methods.patches.objective."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from mriimpute.methods.patches import models
from mriimpute.methods.patches.config import PatchTrainingConfig
from mriimpute.methods.patches.objective import objective
from mriimpute.seeds import stream

CONV: dict[str, Any] = {"architecture": "conv", "channels": 3, "latents": 2, "levels": 1}


def losses(
    name: str, settings: dict[str, Any], config: PatchTrainingConfig, *, weight: float
) -> Tensor:
    """Returns the losses of many copies of one patch, each with draws of its own."""
    model = models.build(name, {"patch": (4, 4), **settings}, seed=0)
    y = torch.rand(1, 1, 4, 4, generator=stream(0, "y")).repeat(4000, 1, 1, 1)
    observed = torch.rand(1, 1, 4, 4, generator=stream(0, "observed")) < 0.7
    with torch.no_grad():
        return objective(
            model,
            y,
            observed.expand_as(y),
            config,
            weight=weight,
            generator=stream(0, "draws"),
        )


@pytest.mark.parametrize(
    ("name", "objective_name", "settings"),
    [
        ("mvae", "elbo", CONV),
        # Without the penalty, which is no mean over draws but a function of one.
        ("tae", "tomographic", {**CONV, "prior_levels": 1, "strength": 0.0}),
    ],
)
def test_more_draws_scatter_less_about_the_same_loss(
    name: str, objective_name: Any, settings: dict[str, Any]
) -> None:
    one, ten = (
        losses(
            name, settings, PatchTrainingConfig(objective=objective_name, draws=draws), weight=1.0
        )
        for draws in (1, 10)
    )

    assert_close(ten.mean(), one.mean(), rtol=0, atol=5 * float(one.std()) / 4000**0.5)
    assert_close(ten.std() * 10**0.5, one.std(), rtol=0.1, atol=0)


@pytest.mark.parametrize(
    ("name", "objective_name", "settings"),
    [("mvae", "elbo", CONV), ("tae", "tomographic", {**CONV, "prior_levels": 1})],
)
def test_weight_of_the_prior_reaches_the_loss(
    name: str, objective_name: Any, settings: dict[str, Any]
) -> None:
    config = PatchTrainingConfig(objective=objective_name)

    before, after = (losses(name, settings, config, weight=weight) for weight in (0.0, 1.0))

    assert (before != after).all()
