"""Tests for mriimpute.optim.descent."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from mriimpute.optim.config import TrainingConfig
from mriimpute.optim.descent import Descent, MovingAverage

CONFIG = TrainingConfig(rate=0.01, weight_decay=0.1, clip=1.0, average=0.9)


class Small(nn.Module):
    """Has parameters of one and of two axes, a real buffer in double precision, and a count."""

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("total", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("count", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


@pytest.fixture
def model(generator: torch.Generator) -> Small:
    small = Small()
    for parameter in small.parameters():
        nn.init.normal_(parameter, generator=generator)
    return small


def test_average_moves_by_its_share_of_the_way_and_counts_are_those_of_the_model(
    model: Small,
) -> None:
    average = MovingAverage(model)
    before = copy.deepcopy(average.model.state_dict())
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.add_(3)

    average.follow(0.75)

    for name, value in average.model.state_dict().items():
        share = 0.25 if value.is_floating_point() else 1
        assert_close(value, before[name] + 3 * share, check_dtype=False)
    assert not average.model.training
    assert not any(parameter.requires_grad for parameter in average.model.parameters())


def test_average_follows_what_was_loaded(model: Small) -> None:
    state = Descent(model, CONFIG, "cpu")
    tensors = {name: torch.ones_like(value) for name, value in state.tensors().items()}

    state.load(tensors, 5, "here")
    state.moving.follow(0.5)

    for value in state.average.state_dict().values():
        assert (value == 1).all()


@pytest.mark.parametrize("size", [0.01, 100.0])
def test_steps_are_those_of_adam_with_decay_of_kernels_and_clipped_gradients(
    model: Small, size: float, generator: torch.Generator
) -> None:
    state, theirs = Descent(copy.deepcopy(model), CONFIG, "cpu"), copy.deepcopy(model).double()
    weight, bias = theirs.linear.weight, theirs.linear.bias
    groups = [
        {"params": [weight], "weight_decay": CONFIG.weight_decay},
        {"params": [bias], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=CONFIG.rate, betas=(0.9, 0.99), foreach=False)
    mean = copy.deepcopy(theirs.linear.weight.detach())

    for step in range(1, 6):
        x = size * torch.randn(4, 3, generator=generator)
        for network, rows in ((state.model, x), (theirs, x.double())):
            network(rows).square().mean().backward()
        norm = float(nn.utils.clip_grad_norm_(theirs.parameters(), CONFIG.clip))
        adam.step()
        adam.zero_grad()
        mean.lerp_(weight.detach(), 1 - min(CONFIG.average, step / (step + 10)))

        assert state.descend(CONFIG.rate) == pytest.approx(norm, rel=1e-4)

    assert (norm > CONFIG.clip) == (size > 1)
    ours = state.model.linear
    assert_close(ours.weight.double(), weight, rtol=1e-4, atol=1e-5)
    assert_close(ours.bias.double(), bias, rtol=1e-4, atol=1e-5)
    assert_close(state.average.linear.weight.double(), mean, rtol=1e-4, atol=1e-5)


def test_a_gradient_that_is_not_finite_moves_nothing_and_is_forgotten(model: Small) -> None:
    state = Descent(model, CONFIG, "cpu")
    before = copy.deepcopy(state.tensors())
    state.model(torch.full((1, 3), torch.inf)).sum().backward()

    norm = state.descend(CONFIG.rate)

    assert not norm < float("inf")
    assert state.step == 0
    for name, value in state.tensors().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in state.model.parameters())
