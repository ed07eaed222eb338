"""Tests for mriimpute.methods.cross_plane.air, and for what `predict` makes of it."""

import os
import signal

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from mriimpute.methods.cross_plane import predict as line_prediction
from mriimpute.methods.cross_plane.air import in_air, located
from mriimpute.methods.cross_plane.conditioning import offsets
from mriimpute.methods.cross_plane.network import Config, LineNetwork, build, linear_between
from mriimpute.methods.cross_plane.predict import Fast, bfloat16_works, predict
from mriimpute.methods.registry import load_imputer
from mriimpute.seeds import stream
from mriimpute.workers import survives

MM = {"gap_mm": 3.0, "along_mm": 1.0}
GAP, AIR = 3, 0.2


def network(blocks: int = 1) -> LineNetwork:
    net, generator = build(Config(channels=4, blocks=blocks, hidden=4), seed=0), stream(0, "test")
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return net.eval().requires_grad_(requires_grad=False)


def heads(rng: np.random.Generator, count: int = 12, rows: int = 24, width: int = 70):  # noqa: ANN201
    """Oval heads of different sizes in noisy air, some images without one."""
    b, n, w = np.ogrid[:count, :rows, :width]
    radius = 1 - np.square((b - 4.3) / 4)
    inside = np.square((n - 12) / 4) + np.square((w - 30 - b) / 12) < radius
    noise = rng.random((count, rows, width))
    return torch.from_numpy(np.where(inside, 0.4 + noise, 0.1 * noise).astype(np.float32))


def between(lines: torch.Tensor) -> np.ndarray:
    """Which pixels between lines lie beside one of the head."""
    bright = lines.numpy() > AIR
    return np.broadcast_to((bright[:, 1:] | bright[:, :-1])[:, None], (len(lines), 2, 23, 70))


@pytest.mark.parametrize("turn", [False, True], ids=["as it is", "flipped"])
def test_the_head_is_predicted_as_it_is_in_whole_images(
    turn: bool, rng: np.random.Generator
) -> None:
    lines = heads(rng).flip(2) if turn else heads(rng)
    net, head = network(), between(lines)

    cut, whole = predict(net, lines, GAP, air=AIR, **MM), predict(net, lines, GAP, **MM)

    assert 0 < head.mean() < 0.2
    for ours, theirs in zip(cut, whole, strict=True):
        assert_allclose(ours.numpy()[head], theirs.numpy()[head], rtol=2e-5, atol=2e-6)


def test_a_narrower_cut_would_be_noticed(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, net = heads(rng), network()
    whole, _ = predict(net, lines, GAP, **MM)
    monkeypatch.setattr(LineNetwork, "reach", 1)

    cut, _ = predict(net, lines, GAP, air=AIR, **MM)

    head = between(lines)
    assert np.abs(cut.numpy() - whole.numpy())[head].max() > 1e-3


def test_air_is_interpolated_and_as_uncertain_as_its_noise(rng: np.random.Generator) -> None:
    lines = heads(rng)

    mean, std = predict(network(), lines, GAP, air=AIR, **MM)

    places = offsets(GAP)[:, None, None]
    linear = linear_between(lines[:, None, :-1], lines[:, None, 1:], places)
    far = np.s_[-1]  # an image without a head
    assert_array_equal(mean[far], linear[far])
    noise = 0.1 / 12**0.5  # of a uniform distribution
    assert_allclose(std[far], noise * np.sqrt(1 + 1 / 9 + 4 / 9), rtol=0.03)


def test_an_image_is_predicted_alike_whatever_is_predicted_with_it(
    rng: np.random.Generator,
) -> None:
    lines, net = heads(rng), network()

    every, _ = predict(net, lines, GAP, air=AIR, **MM)
    alone, _ = predict(net, lines[3:5], GAP, air=AIR, **MM)

    head = between(lines)[3:5]
    assert_allclose(alone.numpy()[head], every[3:5].numpy()[head], rtol=2e-5, atol=2e-6)


def test_nothing_but_air_asks_no_network(rng: np.random.Generator) -> None:
    lines = heads(rng)[-2:]

    mean, std = in_air(lines, located(lines, AIR), offsets(2))

    assert located(lines, AIR).windows(5, 70) == [(0, 0), (0, 0)]
    assert mean.shape == (2, 1, 23, 70)
    assert (std > 0).all()


def test_without_air_images_are_whole() -> None:
    lines = torch.zeros(3, 5, 20)

    head = located(lines, -np.inf)

    assert head.inside(4, 20).all()
    assert head.windows(5, 20) == [(0, 20)] * 3
    assert head.lines(5, 5) == (0, 5)


def test_the_time_of_air_is_none(rng: np.random.Generator) -> None:
    """Pixels that the network sees, with twice and eight times the air around the same head."""
    seen, net = [], network()
    net.stem.register_forward_hook(
        lambda net, inputs, output: seen.append(inputs[0][0, 0].numel())
    )
    lines = heads(rng)
    counts = []
    for margin in (0, 70, 280):
        seen.clear()
        wide = torch.nn.functional.pad(lines, (margin, margin), value=0.05)
        predict(net, wide, GAP, air=AIR, **MM)
        counts.append(sum(seen))

    assert counts[1] == counts[2]
    assert counts[1] < 1.5 * counts[0]


MARK = 1e-3
"""By which bfloat16 may be off."""


def test_bfloat16_that_is_wrong_is_not_used_and_that_is_said(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lines, net, computed = heads(rng), network(), line_prediction._computed
    exact = predict(net, lines, GAP, air=AIR, **MM)

    def wrong(*given, **options):  # noqa: ANN002, ANN003, ANN202
        kind = given[4]
        mean, std = computed(*given[:4], torch.float32, *given[5:], **options)
        return (mean + 0.1 if kind == torch.bfloat16 else mean), std

    def marked(*given, **options):  # noqa: ANN002, ANN003, ANN202
        mean, std = computed(*given[:4], torch.float32, *given[5:], **options)
        return (mean + MARK if given[4] == torch.bfloat16 else mean), std

    monkeypatch.setattr(line_prediction, "_computed", wrong)
    line_prediction._warn.cache_clear()
    fast = Fast(torch.bfloat16, reach=99)

    ours = predict(net, lines, GAP, air=AIR, fast=fast, **MM)

    assert "computes bfloat16 too far off" in caplog.text
    for a, b in zip(ours, exact, strict=True):
        assert_allclose(a, b, atol=1e-5)
    monkeypatch.setattr(line_prediction, "_computed", marked)
    again, _ = predict(net, lines, GAP, air=AIR, fast=fast, **MM)
    assert_allclose((again - ours[0]).max(), MARK, rtol=0.01)  # the next scan is tried anew


@pytest.mark.skipif(
    not torch.cpu.get_capabilities().get("avx512_bf16"), reason="this CPU has no bfloat16"
)
def test_bfloat16_is_near_float32(rng: np.random.Generator) -> None:
    lines, net = heads(rng, 4), load_imputer("cross-plane", device="cpu").network
    assert bfloat16_works(net)

    ours, _ = predict(net, lines, GAP, air=AIR, fast=Fast(torch.bfloat16), **MM)

    theirs, _ = predict(net, lines, GAP, air=AIR, **MM)
    error = float((ours - theirs).square().mean().sqrt())
    assert 0 < error < line_prediction.SAME[torch.bfloat16]


def test_a_process_that_dies_says_no() -> None:
    assert survives(lambda: True)
    assert not survives(lambda: False)
    assert not survives(lambda: bool(1 // 0))
    assert not survives(lambda: os.kill(os.getpid(), signal.SIGILL) is None)
    assert not survives(lambda: signal.pause() is None, seconds=0.05)
