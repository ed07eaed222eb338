"""Tests for mriimpute.methods.cross_plane.latent_network."""

import pytest
import torch
from torch import Tensor

from mriimpute.methods.cross_plane.latent_network import LatentLineNetwork, Subspace
from mriimpute.methods.cross_plane.network import LineNetwork

OFFSETS = torch.tensor([1 / 3, 2 / 3])


def network(generator: torch.Generator, *, learnt: bool = True) -> LatentLineNetwork:
    net = LatentLineNetwork(conditions=3, channels=4, blocks=2, hidden=4, latents=3)
    if learnt:
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return net


def subspace(generator: torch.Generator, width: int = 10) -> Subspace:
    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    mean, log_sigma = normal(1, 2, 3, width), 0.3 * normal(1, 2, 3, width)
    return Subspace(mean, log_sigma, 0.7 * normal(1, 2, 3, 3, width), 0.5 * normal(3, 1, 3, 8))


def matrix(found: Subspace) -> Tensor:
    """A, one latent number after the other."""
    grid = found.information().shape[1:]
    ones = torch.eye(found.information().numel(), dtype=torch.float64).unflatten(1, grid)
    return torch.stack([found.carried(one[None]).flatten() for one in ones], dim=1)


@pytest.mark.parametrize("width", [4, 10])
def test_what_is_gathered_is_the_adjoint_of_what_is_carried(
    width: int, generator: torch.Generator
) -> None:
    found = subspace(generator, width)
    x = torch.randn(1, 2, 3, width, generator=generator, dtype=torch.float64)

    gathered = found.gathered(x)

    torch.testing.assert_close(gathered.flatten(), matrix(found).T @ x.flatten())


@pytest.mark.parametrize("width", [4, 10])
def test_information_and_spread_are_sums_of_squares(
    width: int, generator: torch.Generator
) -> None:
    found = subspace(generator, width)
    squares = matrix(found).square()

    torch.testing.assert_close(found.information().flatten(), squares.sum(0))
    torch.testing.assert_close(found.shared().flatten(), squares.sum(1))


def test_moments_are_those_of_the_plain_network_to_the_bit(generator: torch.Generator) -> None:
    net = network(generator)
    plain = LineNetwork(conditions=3, channels=4, blocks=2, hidden=4)
    plain.load_state_dict({k: net.state_dict()[k] for k in plain.state_dict()})
    lines, told = torch.rand(2, 1, 4, 9, generator=generator), torch.zeros(2, 3)

    ours, theirs = net(lines, told, OFFSETS), plain(lines, told, OFFSETS)

    assert all(a.equal(b) for a, b in zip(ours, theirs, strict=True))


def test_latent_numbers_take_their_variance_from_the_spread(generator: torch.Generator) -> None:
    net = network(generator)
    lines, told = torch.rand(2, 1, 4, 9, generator=generator), torch.zeros(2, 3)

    found = net.subspace(lines, told, OFFSETS)

    mean, log_sigma = net(lines, told, OFFSETS)
    variance = (2 * found.log_sigma).exp() * (1 + found.shared())
    assert found.mean.equal(mean)
    assert found.shared().detach().mean() > 1e-3
    torch.testing.assert_close(variance, (2 * log_sigma).exp())


def test_before_it_learns_errors_are_almost_independent(generator: torch.Generator) -> None:
    net = network(generator, learnt=False)
    lines = torch.rand(2, 1, 4, 9, generator=generator)

    found = net.subspace(lines, torch.zeros(2, 3), OFFSETS)

    assert 0 < float(found.shared().detach().max()) < 0.01


def test_gains_send_no_gradient_to_the_trunk(generator: torch.Generator) -> None:
    net = network(generator)
    lines = torch.rand(2, 1, 3, 9, generator=generator)

    net.subspace(lines, torch.zeros(2, 3), OFFSETS).log_sigma.sum().backward()

    moved = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None}
    assert moved == {"spread", "gain", "kernel"}


def test_pixels_on_both_sides_of_a_line_share_latent_numbers(generator: torch.Generator) -> None:
    found = subspace(generator)
    one = torch.zeros(1, 3, 3, 3, dtype=torch.float64)
    one[0, 0, 0, 0] = 1

    reached = found.carried(one)[0].abs().sum(0) > 0  # by interval and pixel

    assert reached.sum(1).tolist() == [6, 6, 0]
