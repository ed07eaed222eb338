"""Tests for mriimpute.methods.cross_plane.network."""

import math

import pytest
import torch
from torch import Tensor, nn

from mriimpute.methods.cross_plane.network import (
    USUAL,
    Config,
    LineNetwork,
    Modulation,
    build,
    smoothness,
)


def network(generator: torch.Generator, *, learnt: bool = True) -> LineNetwork:
    net = LineNetwork(conditions=3, channels=4, blocks=2, hidden=4)
    if learnt:  # zero-initialised layers would hide what reaches them
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return net


def test_untrained_mean_is_linear_interpolation(generator: torch.Generator) -> None:
    lines = torch.rand(2, 1, 4, 9, generator=generator)
    offsets = torch.tensor([0.25, 0.5, 0.75])

    mean, log_sigma = network(generator, learnt=False)(lines, torch.zeros(2, 3), offsets)

    assert mean.shape == log_sigma.shape == (2, 3, 3, 9)
    expected = torch.stack([torch.lerp(lines[:, 0, :-1], lines[:, 0, 1:], t) for t in offsets], 1)
    torch.testing.assert_close(mean, expected)


def test_spread_sends_no_gradient_to_the_trunk(generator: torch.Generator) -> None:
    net = network(generator)
    lines = torch.rand(2, 1, 3, 9, generator=generator)

    _, log_sigma = net(lines, torch.zeros(2, 3), torch.tensor([0.5]))
    log_sigma.sum().backward()

    moved = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None}
    assert moved == {"spread"}


@pytest.mark.parametrize("condition", [0, 1, 2])
def test_every_condition_changes_mean_and_spread(
    condition: int, generator: torch.Generator
) -> None:
    net = network(generator)
    lines = torch.rand(1, 1, 3, 9, generator=generator)
    told, other = torch.zeros(1, 3), torch.zeros(1, 3)
    other[0, condition] = 1.0

    before = net(lines, told, torch.tensor([0.5]))
    after = net(lines, other, torch.tensor([0.5]))

    assert all((a != b).any() for a, b in zip(before, after, strict=True))


def test_network_of_sizes_alone_is_not_told_directions(generator: torch.Generator) -> None:
    lines, told = torch.rand(1, 1, 3, 9, generator=generator), torch.rand(1, 10)
    other = torch.cat([torch.rand(1, 6), told[:, 6:]], dim=1)

    for directions, is_same in ((False, True), (True, False)):
        net = build(Config(channels=4, blocks=1, hidden=4, directions=directions), seed=0)
        nn.init.normal_(net.mean.last.weight, generator=generator)
        nn.init.normal_(net.blocks[0].modulation.linear.weight, generator=generator)
        nn.init.normal_(net.blocks[0].second.weight, generator=generator)
        means = [net(lines, q, torch.tensor([0.5]))[0] for q in (told, other)]
        assert torch.equal(*means) is is_same


def test_offsets_are_predicted_independently_of_each_other(generator: torch.Generator) -> None:
    net = network(generator)
    lines, told = torch.rand(2, 1, 3, 9, generator=generator), torch.zeros(2, 3)

    together = net(lines, told, torch.tensor([0.2, 0.5, 0.7]))
    alone = net(lines, told, torch.tensor([0.5]))

    for all_of_them, one in zip(together, alone, strict=True):
        torch.testing.assert_close(all_of_them[:, 1:2], one)


def test_padding_is_told_from_dark_pixels(generator: torch.Generator) -> None:
    net = network(generator)
    dark = torch.zeros(1, 1, 6, 31)

    mean, _ = net(dark, torch.zeros(1, 3), torch.tensor([0.5]))

    assert (mean[0, 0, 2, 0] != mean[0, 0, 2, 15]).all()


def test_modulation_starts_as_the_identity(generator: torch.Generator) -> None:
    h = torch.randn(2, 3, 4, 5, generator=generator)

    torch.testing.assert_close(Modulation(2, 3)(h, torch.ones(2, 2)), h)


def test_channels_stay_innermost_from_end_to_end(generator: torch.Generator) -> None:
    net = network(generator)
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    turned: list[nn.Module] = []

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if not inputs[0].is_contiguous(memory_format=torch.channels_last):
            turned.append(layer)

    for layer in layers:
        layer.register_forward_pre_hook(look)
    net(torch.rand(2, 1, 4, 9, generator=generator), torch.zeros(2, 3), torch.tensor([0.3, 0.5]))

    assert layers
    assert not turned


def test_modulation_of_one_grid_by_many_conditions_is_that_of_copies(
    generator: torch.Generator,
) -> None:
    modulation = Modulation(2, 3)
    for parameter in modulation.parameters():
        nn.init.normal_(parameter, generator=generator)
    h = torch.randn(4, 3, 5, 6, generator=generator)
    told = torch.randn(4, 7, 2, generator=generator)

    together = modulation(h[:, None], told)

    for n in range(7):
        torch.testing.assert_close(together[:, n], modulation(h, told[:, n]))


def test_smoothness_ignores_brightness_and_contrast(generator: torch.Generator) -> None:
    lines = torch.rand(3, 1, 4, 40, generator=generator).cumsum(dim=-1)

    torch.testing.assert_close(smoothness(5 - 100 * lines), smoothness(lines), rtol=0, atol=1e-4)


def test_smoothness_of_noise_and_of_a_random_walk_are_known(generator: torch.Generator) -> None:
    noise = torch.randn(1, 1, 200, 500, generator=generator)
    logs = torch.tensor([[0.0, 0.0], [math.log(1 / 4), math.log(2 / 4)]])

    found = smoothness(torch.cat([noise, noise.cumsum(dim=-1)]))

    mean, spread = torch.tensor(USUAL).T
    torch.testing.assert_close(found, ((logs - mean) / spread).clamp(-3, 3), rtol=0, atol=0.03)


def test_nothing_is_known_of_the_smoothness_of_constant_or_short_lines() -> None:
    assert smoothness(torch.full((2, 1, 3, 20), 0.7)).tolist() == [[0, 0], [0, 0]]
    assert smoothness(torch.rand(1, 1, 3, 4)).tolist() == [[0, 0]]


def test_smoothness_changes_mean_and_spread(generator: torch.Generator) -> None:
    net = network(generator)
    lines = torch.rand(1, 1, 3, 40, generator=generator)
    far = lines.clone()
    far[..., 30:] = far[..., 30:].cumsum(dim=-1)  # beyond what convolutions see of pixel 0

    before = net(lines, torch.zeros(1, 3), torch.tensor([0.5]))
    after = net(far, torch.zeros(1, 3), torch.tensor([0.5]))

    assert all((a[..., 0] != b[..., 0]).any() for a, b in zip(before, after, strict=True))
