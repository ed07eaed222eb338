"""Tests for the loss of the cross-plane network, its conditioning, and its scores."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from mriimpute.methods.cross_plane.conditioning import conditioning
from mriimpute.methods.cross_plane.hidden_lines import Lines
from mriimpute.methods.cross_plane.loss import Loss, objective
from mriimpute.methods.cross_plane.network import Config, LineNetwork, build
from mriimpute.methods.cross_plane.predict import predict
from mriimpute.methods.cross_plane.validation import score, validation_slices

MM = {"gap_mm": 6.0, "along_mm": 1.0}
ONE = np.ones(3, np.float32)
SIX = np.full(3, 6, np.float32)
THIRDS = np.full((3, 6), 1 / 3, np.float32)


def network(generator: torch.Generator) -> LineNetwork:
    net = build(Config(channels=4, blocks=1, hidden=4), seed=0).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return net


def images(rng: np.random.Generator, count: int = 3) -> np.ndarray:
    return rng.random((count, 5, 12)).astype(np.float32)


def test_an_image_is_predicted_alike_whatever_is_predicted_with_it(
    generator: torch.Generator, rng: np.random.Generator
) -> None:
    net, kept = network(generator), torch.from_numpy(images(rng, 11))

    every, _ = predict(net, kept, 3, **MM)
    alone, _ = predict(net, kept[9:10], 3, **MM)

    assert torch.equal(alone[0], every[9])


@pytest.mark.parametrize("scale", [0.1, 4.0])
def test_a_scan_of_another_scale_is_told_as_one_of_a_known_scale(scale: float) -> None:
    scale = np.float32(scale)
    known = 0.5 if scale < 1 else 2.0  # the nearest size of pixels

    told = conditioning(3, 3 * scale * ONE, scale * ONE, 0 * ONE, THIRDS)

    np.testing.assert_allclose(
        told, conditioning(3, 3 * known * ONE, known * ONE, 0 * ONE, THIRDS), atol=1e-6
    )
    assert np.abs(told).max() < 1.4


def test_a_scan_of_known_size_is_told_as_it_is() -> None:
    told = conditioning(3, SIX, ONE, 0 * ONE, THIRDS)

    assert_array_equal(told[0, 6:8], np.log(np.float32([1, 1 / np.float32(1.5)])))


def test_spread_does_not_pull_at_the_mean(
    generator: torch.Generator, rng: np.random.Generator
) -> None:
    net = network(generator)
    kept, hidden = torch.from_numpy(images(rng)), torch.rand(3, 2, 4, 12, generator=generator)
    told = torch.from_numpy(conditioning(3, SIX, ONE, 0 * ONE, THIRDS))

    objective(net, kept, hidden, told).nll.backward()

    assert all(p.grad is None for name, p in net.named_parameters() if "spread" not in name)


@pytest.mark.parametrize("loss", ["squared", "charbonnier"])
def test_loss_of_linear_interpolation_is_one(
    loss: Loss, generator: torch.Generator, rng: np.random.Generator
) -> None:
    kept, hidden = torch.from_numpy(images(rng)), torch.rand(3, 2, 4, 12, generator=generator)

    terms = objective(build(Config(), seed=0), kept, hidden, torch.zeros(3, 4), loss=loss)

    assert float(terms.relative.detach()) == pytest.approx(1.0, abs=1e-4)


def test_nats_are_those_of_a_gaussian(
    generator: torch.Generator, rng: np.random.Generator
) -> None:
    net, kept = network(generator), images(rng)
    hidden = torch.rand(3, 2, 4, 12, generator=generator)
    told = torch.from_numpy(conditioning(3, SIX, ONE, 0 * ONE, THIRDS))

    mean, log_sigma = net(torch.from_numpy(kept)[:, None], told, torch.tensor([1 / 3, 2 / 3]))
    expected = torch.nn.functional.gaussian_nll_loss(mean, hidden, (2 * log_sigma).exp(), eps=0)

    nats = objective(net, torch.from_numpy(kept), hidden, told).nll
    torch.testing.assert_close(nats, expected + 0.5 * math.log(2 * math.pi))


def test_untrained_network_gains_nothing_and_its_spread_is_corrected(
    rng: np.random.Generator,
) -> None:
    kept = rng.random((1, 30, 40)).astype(np.float32)
    linear = 0.5 * (kept[:, None, :-1] + kept[:, None, 1:])
    noise = 0.2 * rng.normal(size=linear.shape)
    one = np.ones(1, np.float32)
    lines = Lines(
        kept,
        (linear + noise).astype(np.float32),
        2,
        2 * one,
        one,
        0 * one,
        ("a",),
        -9 * one,
        THIRDS[:1],
    )
    net = build(Config(channels=4, blocks=1, hidden=4), seed=0).eval()

    judged = score(net, validation_slices([lines]))

    assert judged is not None
    assert judged.gain_db == pytest.approx(0.0, abs=0.01)
    _, std = predict(net, torch.from_numpy(kept), 2, gap_mm=2.0, along_mm=1.0)
    assert judged.factor[0] * std.mean() == pytest.approx(0.2, rel=0.05)
    assert judged.coverage == pytest.approx(0.9, abs=0.03)


def test_scores_of_no_images_are_none() -> None:
    assert score(build(Config(), seed=0), []) is None
