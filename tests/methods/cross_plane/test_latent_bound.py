"""Tests for mriimpute.methods.cross_plane.latent."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from mriimpute.layers.density import DiagonalGaussian
from mriimpute.methods.cross_plane import loss as plain
from mriimpute.methods.cross_plane.conditioning import conditioning
from mriimpute.methods.cross_plane.hidden_lines import Lines
from mriimpute.methods.cross_plane.latent_bound import bound, nll_of, objective, posterior
from mriimpute.methods.cross_plane.latent_network import (
    LatentConfig,
    LatentLineNetwork,
    Subspace,
    build_latent,
    network_of,
)
from mriimpute.methods.cross_plane.predict import predict
from mriimpute.methods.cross_plane.validation import score, validation_slices

SIZE = {"channels": 4, "blocks": 1, "hidden": 4}
MM = {"gap_mm": 3.0, "along_mm": 1.0}
ONE = np.ones(2, np.float32)
THIRDS = np.full((2, 6), 1 / 3, np.float32)


def network(generator: torch.Generator) -> LatentLineNetwork:
    net = build_latent(LatentConfig(**SIZE, latents=3), seed=0).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return net


def crops(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    kept, hidden = torch.rand(2, 5, 12, generator=generator), torch.rand(2, 2, 4, 12)
    told = conditioning(3, 3 * ONE, ONE, 0 * ONE, THIRDS)
    return kept, hidden.uniform_(generator=generator), torch.from_numpy(told)


def toy(generator: torch.Generator, *, apart: bool = False) -> tuple[Subspace, Tensor]:
    """A subspace, and pixels; where latent numbers are to be apart, none share a pixel."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    latents = 1 if apart else 3
    kernel = 0.5 * normal(latents, 1, 3, 8)
    if apart:
        inside = torch.zeros(3, 8, dtype=torch.float64)
        inside[1, 2:6] = 1
        kernel = kernel * inside
    gains = 0.7 * normal(1, 2, latents, 3, 10)
    found = Subspace(normal(1, 2, 3, 10), 0.3 * normal(1, 2, 3, 10), gains, kernel)
    return found, found.mean + normal(1, 2, 3, 10)


def exact(found: Subspace, hidden: Tensor) -> tuple[float, Tensor]:
    """The evidence, and the precision of the latent numbers given the pixels."""
    grid = found.information().shape[1:]
    ones = torch.eye(found.information().numel(), dtype=torch.float64).unflatten(1, grid)
    a = torch.stack([found.carried(one[None]).flatten() for one in ones], dim=1)
    sigma = found.log_sigma.exp().flatten()
    covariance = sigma[:, None] * (torch.eye(len(a)) + a @ a.T) * sigma
    gaussian = torch.distributions.MultivariateNormal(found.mean.flatten(), covariance)
    return float(gaussian.log_prob(hidden.flatten())), torch.eye(a.shape[1]) + a.T @ a


def white(found: Subspace, hidden: Tensor) -> Tensor:
    return (hidden - found.mean) / found.log_sigma.exp()


def test_bound_is_the_evidence_where_q_is_the_posterior(generator: torch.Generator) -> None:
    found, hidden = toy(generator, apart=True)

    value = bound(found, hidden, posterior(found, white(found, hidden)))

    assert value.item() == pytest.approx(exact(found, hidden)[0], abs=1e-9)


def test_bound_lies_below_the_evidence_by_what_the_posterior_correlates(
    generator: torch.Generator,
) -> None:
    found, hidden = toy(generator)

    value = bound(found, hidden, posterior(found, white(found, hidden), rounds=30))

    evidence, precision = exact(found, hidden)
    gap = 0.5 * float(precision.diagonal().log().sum() - precision.logdet())
    assert gap > 0.1
    assert evidence - value.item() == pytest.approx(gap, abs=1e-6)


def test_no_other_gaussian_makes_the_bound_tighter(generator: torch.Generator) -> None:
    found, hidden = toy(generator)
    q = posterior(found, white(found, hidden), rounds=30)
    best = bound(found, hidden, q)

    for _ in range(5):
        moved = q.loc + 0.1 * torch.randn(q.loc.shape, generator=generator)
        wider = q.scale * (0.1 * torch.randn(q.scale.shape, generator=generator)).exp()
        assert bound(found, hidden, DiagonalGaussian(moved, q.scale)) < best
        assert bound(found, hidden, DiagonalGaussian(q.loc, wider)) < best


def test_bound_is_density_less_divergence(generator: torch.Generator) -> None:
    found, hidden = toy(generator)
    q = posterior(found, white(found, hidden))

    images = found.information().shape[1:]
    z = q.sample(2000, generator)[:, 0].unflatten(1, images)
    miss = white(found, hidden) - torch.cat([found.carried(one) for one in z.split(1)])
    density = -0.5 * miss.square() - found.log_sigma - 0.5 * np.log(2 * np.pi)

    sampled = density.flatten(1).sum(1) - q.kl_to_standard()
    error = float(sampled.std()) / 2000**0.5
    assert bound(found, hidden, q).item() == pytest.approx(float(sampled.mean()), abs=4 * error)


def test_without_gains_q_is_the_prior_and_the_bound_that_of_independent_pixels(
    generator: torch.Generator,
) -> None:
    found, hidden = toy(generator)
    found = dataclasses.replace(found, gains=0 * found.gains)

    q = posterior(found, white(found, hidden))

    assert q.kl_to_standard().item() == 0
    assert bound(found, hidden, q).item() == pytest.approx(exact(found, hidden)[0], abs=1e-9)


def test_units_of_intensities_change_the_bound_by_their_volume_alone(
    generator: torch.Generator,
) -> None:
    found, hidden = toy(generator)
    log_scale = torch.tensor(0.7, dtype=torch.float64)
    mean, log_sigma = log_scale.exp() * found.mean + 3, found.log_sigma + log_scale
    moved = dataclasses.replace(found, mean=mean, log_sigma=log_sigma)
    there = log_scale.exp() * hidden + 3

    first = bound(found, hidden, posterior(found, white(found, hidden)))
    second = bound(moved, there, posterior(moved, white(moved, there)))

    torch.testing.assert_close(second, first - hidden.numel() * log_scale)


def test_gradient_of_the_bound_is_that_through_q(generator: torch.Generator) -> None:
    found, hidden = toy(generator)
    gains = found.gains.clone().requires_grad_()
    found = dataclasses.replace(found, gains=gains)

    through = posterior(found, white(found, hidden), rounds=30)
    (whole,) = torch.autograd.grad(bound(found, hidden, through).sum(), gains)
    q = DiagonalGaussian(through.loc.detach(), through.scale.detach())
    (given,) = torch.autograd.grad(bound(found, hidden, q).sum(), gains)

    torch.testing.assert_close(given, whole, rtol=1e-6, atol=1e-6)


def test_silent_latent_numbers_cost_what_independent_pixels_do(
    generator: torch.Generator,
) -> None:
    net, (kept, hidden, told) = network(generator), crops(generator)
    torch.nn.init.zeros_(net.gain.last.weight)
    torch.nn.init.zeros_(net.gain.last.get_parameter("bias"))

    ours, theirs = objective(net, kept, hidden, told), plain.objective(net, kept, hidden, told)

    torch.testing.assert_close(ours.nll, theirs.nll)
    assert ours.relative == theirs.relative


def test_bound_does_not_pull_at_the_mean(generator: torch.Generator) -> None:
    net = network(generator)

    objective(net, *crops(generator)).nll.backward()

    moved = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None}
    assert moved == {"spread", "gain", "kernel"}


def test_errors_that_go_together_are_learnt(generator: torch.Generator) -> None:
    net = build_latent(LatentConfig(**SIZE, latents=2), seed=0)
    net.keep_moments()
    kept, _, told = crops(generator)
    linear = torch.stack([torch.lerp(kept[:, :-1], kept[:, 1:], t) for t in (1 / 3, 2 / 3)], 1)
    optimiser = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=0.05)

    costs = []
    for _ in range(40):
        common = torch.randn(2, 1, 4, 3, generator=generator).repeat_interleave(4, dim=3)
        terms = objective(net, kept, linear + 0.2 * common.expand_as(linear), told)
        optimiser.zero_grad()
        terms.total.backward()
        optimiser.step()
        costs.append(float(terms.nll.detach()))

    independent = np.log(0.2) + 0.5 * np.log(2 * np.pi) + 0.5
    assert np.mean(costs[-10:]) < independent - 0.3


def test_an_image_is_predicted_alike_whatever_is_predicted_with_it(
    generator: torch.Generator, rng: np.random.Generator
) -> None:
    kept = torch.from_numpy(rng.random((11, 5, 12)).astype(np.float32))
    net = network(generator)

    mean, std = predict(net, kept, 3, **MM)
    alone = predict(net, kept[9:10], 3, **MM)

    assert torch.equal(alone[0][0], mean[9])
    assert torch.equal(alone[1][0], std[9])


def test_nats_of_an_image_are_those_that_training_minimises(generator: torch.Generator) -> None:
    net, (kept, hidden, told) = network(generator), crops(generator)
    lines = Lines(
        kept.numpy(), hidden.numpy(), 3, 3 * ONE, ONE, 0 * ONE, ("a", "b"), 0 * ONE, THIRDS
    )

    nats = nll_of(net, lines)

    assert nats == pytest.approx(float(objective(net, kept, hidden, told).nll.detach()))


@pytest.mark.parametrize("name", ["cross-plane", "cross-plane-latent"])
def test_score_says_the_nats_of_images(name: str, generator: torch.Generator) -> None:
    latents = {"latents": 3} if name.endswith("latent") else {}
    net = network_of(name, {**SIZE, **latents}, seed=0).eval()
    one, (kept, hidden, _) = ONE[:1], crops(generator)
    images = [
        Lines(
            a[None].numpy(),
            b[None].numpy(),
            3,
            3 * one,
            one,
            0 * one,
            ("a",),
            -9 * one,
            THIRDS[:1],
        )
        for a, b in zip(kept, hidden, strict=True)
    ]

    found = score(net, validation_slices(images))

    assert found is not None
    assert found.nats == pytest.approx(np.mean([nll_of(net, image) for image in images]))


@pytest.mark.parametrize("name", ["cross-plane", "cross-plane-latent"])
def test_networks_are_called_by_their_names(name: str) -> None:
    latents = {"latents": 3} if name.endswith("latent") else {}

    net = network_of(name, {**SIZE, **latents}, seed=0)

    assert isinstance(net, LatentLineNetwork) == bool(latents)


@pytest.mark.gpu
def test_a_gpu_says_what_the_cpu_says(generator: torch.Generator) -> None:
    net, data = network(generator), crops(generator)
    theirs = objective(net, *data)

    ours = objective(net.cuda(), *(part.cuda() for part in data))

    torch.testing.assert_close(ours.nll.cpu(), theirs.nats, rtol=1e-3, atol=1e-3)
