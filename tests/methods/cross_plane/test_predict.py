"""Tests for mriimpute.methods.cross_plane.predict."""

import logging

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from mriimpute.methods.cross_plane import predict as line_prediction
from mriimpute.methods.cross_plane.conditioning import conditioning, offsets
from mriimpute.methods.cross_plane.network import Config, LineNetwork, build
from mriimpute.methods.cross_plane.predict import checked, in_batches, predict

MM = {"gap_mm": 3.0, "along_mm": 1.0}
GAP = 3


def network(generator: torch.Generator) -> LineNetwork:
    net = build(Config(channels=4, blocks=1, hidden=4), seed=0).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return net.requires_grad_(requires_grad=False)


def images(generator: torch.Generator, count: int = 11) -> torch.Tensor:
    return torch.rand(count, 5, 12, generator=generator)


class Machine:
    """Says of each interval what the line before it says; does so as badly as it is told.

    Args:
        room: Images at once, at most; with more of them memory runs out.
        half: What float16 makes of a mean.
    """

    def __init__(self, room: int = 99, half=lambda mean: mean) -> None:  # noqa: ANN001
        self.room = room
        self.half = half
        self.done: list[tuple[int, torch.dtype]] = []

    def __call__(
        self, lines: torch.Tensor, kind: torch.dtype = torch.float32
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if len(lines) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        self.done.append((len(lines), kind))
        mean = lines[:, None, :-1].repeat_interleave(GAP - 1, dim=1)
        return self.half(mean) if kind == torch.float16 else mean, torch.ones_like(mean)


def only_last_image_infinite(mean: torch.Tensor) -> torch.Tensor:
    """Infinite where no check of a few images would look."""
    mean = mean.clone()
    mean[1] = torch.inf
    return mean


def test_on_a_cpu_it_is_what_the_network_is_asked_there(generator: torch.Generator) -> None:
    net, kept = network(generator), images(generator)

    ours = predict(net, kept.transpose(0, 1).transpose(0, 1), GAP, **MM)

    theirs = predict(net, kept, GAP, **MM)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("batch", [1, 3, 4, 11, 50])
def test_batches_change_nothing(batch: int, generator: torch.Generator) -> None:
    kept, machine = images(generator), Machine()

    mean, _ = in_batches(machine, kept, batch)

    assert torch.equal(mean, Machine()(kept)[0])
    assert max(count for count, _ in machine.done) == min(batch, 11)


@pytest.mark.parametrize(("room", "counts"), [(3, [3, 3, 3, 2]), (1, [1] * 11), (11, [11])])
def test_where_memory_runs_out_it_goes_on_with_half_as_much(
    room: int, counts: list[int], generator: torch.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    kept, machine = images(generator), Machine(room)

    with caplog.at_level(logging.INFO):
        mean, _ = in_batches(machine, kept, 11)

    assert torch.equal(mean, Machine()(kept)[0])
    assert [count for count, _ in machine.done] == counts
    assert ("out of memory on the GPU" in caplog.text) == (room < 11)


def test_where_a_single_image_is_too_large_the_shortage_is_told(
    generator: torch.Generator,
) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        in_batches(Machine(room=0), images(generator), 8)


def test_half_precision_that_agrees_is_used(
    generator: torch.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    kept, machine = images(generator), Machine(half=lambda mean: mean.half().float())

    mean, _ = checked(machine, kept)

    assert machine.done == [(11, torch.float16), (line_prediction.CHECKED, torch.float32)]
    assert 0 < float((mean - Machine()(kept)[0]).abs().max()) < 1e-3
    assert not caplog.messages


@pytest.mark.parametrize(
    "half",
    [
        lambda mean: mean + 0.01,
        lambda mean: torch.full_like(mean, torch.nan),
        only_last_image_infinite,
        lambda mean: torch.cat([mean[:-1], 0 * mean[-1:]]),
    ],
    ids=["off", "nan", "overflow", "end"],
)
def test_half_precision_that_is_wrong_is_not_used_and_that_is_said_once(
    half,  # noqa: ANN001
    generator: torch.Generator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    line_prediction._warn.cache_clear()
    kept, machine = images(generator), Machine(half=half)

    mean, _ = checked(machine, kept)
    again, _ = checked(machine, kept)

    assert torch.equal(mean, Machine()(kept)[0])
    assert torch.equal(again, mean)
    assert len(caplog.messages) == 1
    assert "computes float16 too far off" in caplog.text


def test_few_images_are_computed_exactly_at_once(generator: torch.Generator) -> None:
    machine = Machine(half=lambda mean: 0 * mean)

    checked(machine, images(generator, line_prediction.CHECKED))

    assert machine.done == [(line_prediction.CHECKED, torch.float32)]


def test_the_way_of_a_gpu_computes_the_same(generator: torch.Generator) -> None:
    net, kept = network(generator), images(generator)
    sizes = (np.float32([x]) for x in (3.0, 1.0, 0.0, [1 / 3] * 6))
    conditions = torch.from_numpy(conditioning(GAP, *sizes))

    ours = line_prediction._computed(net, conditions, offsets(GAP), kept, torch.float32)

    theirs = predict(net, kept, GAP, **MM)
    for a, b in zip(ours, theirs, strict=True):
        assert_allclose(a.numpy(), b.numpy(), atol=1e-6)


@pytest.mark.parametrize(("workspace", "batches"), [(2**40, 1), (11 * 4 * 4 * 96 * 4 // 3, 4)])
def test_a_batch_is_as_large_as_the_workspace_allows(
    workspace: int, batches: int, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    net = network(generator).to("meta")  # no CPU, and it needs no GPU either
    net.stem.register_forward_hook(lambda net, inputs, output: seen.append(len(inputs[0])))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 0))
    monkeypatch.setattr(line_prediction, "WORKSPACE", workspace)

    mean, std = predict(net, images(generator).to("meta"), GAP, **MM)

    assert mean.shape == std.shape == (11, 2, 4, 12)
    assert len(seen) == batches


def test_convolutions_round_as_they_did_afterwards(generator: torch.Generator) -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark, cudnn.enabled

    line_prediction._computed(
        network(generator), torch.zeros(1, 4), offsets(GAP), images(generator), torch.float32
    )

    assert (cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark, cudnn.enabled) == before


@pytest.mark.gpu
@pytest.mark.parametrize("count", [3, 200])
def test_a_gpu_says_what_the_cpu_says(count: int, generator: torch.Generator) -> None:
    net, kept = network(generator), images(generator, count)
    theirs = predict(net, kept, GAP, **MM)

    ours = predict(net.cuda(), kept.cuda(), GAP, **MM)

    for a, b in zip(ours, theirs, strict=True):
        assert float((a.cpu() - b).square().mean().sqrt()) < line_prediction.SAME[torch.float16]
