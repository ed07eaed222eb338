"""Tests for mriimpute.bench.layers, expected, scale and startup."""

import dataclasses

import pytest
import torch
from torch.testing import assert_close

from mriimpute.bench import layers as layers_module
from mriimpute.bench.arithmetic import counted
from mriimpute.bench.expected import H200, draw_work, expected, line_work, step_work
from mriimpute.bench.layers import layer_costs, local_memory
from mriimpute.bench.scale import scale_of
from mriimpute.bench.startup import _child, startup
from mriimpute.bench.timing import Timing, compared
from mriimpute.bench.training import Step
from mriimpute.methods.cross_plane.conditioning import offsets
from mriimpute.methods.cross_plane.network import Config, build
from mriimpute.methods.patches.layers.linear import ObservedLinear

SHAPE = (192, 176, 224)


def step(data: float, descent: float) -> Step:
    return Step(4, Timing.of([data]), Timing.of([descent]))


def test_a_loop_over_rows_solves_what_a_batch_does(generator: torch.Generator) -> None:
    layer = ObservedLinear(30, 4)
    y = torch.randn(5, 1, 30, generator=generator)
    observed = torch.rand(y.shape, generator=generator) < 0.5

    one_by_one = [layers_module._solved(layer, *row) for row in zip(y, observed, strict=True)]

    assert_close(torch.stack(one_by_one), layer(y, observed), rtol=1e-4, atol=1e-5)


def test_both_of_a_pair_are_measured_by_turns() -> None:
    said: list[str] = []

    ratio = compared(lambda: said.append("a"), lambda: said.append("b"), repeats=3)

    assert "".join(said) == "aaabbb" + "ab" * 2  # two calls of each do not count
    assert ratio.low <= ratio.median <= ratio.high
    assert ratio.repeats == 3


def test_every_layer_is_compared_in_both_passes() -> None:
    costs = layer_costs("cpu", edge=6, repeats=1)

    assert [cost.shape for cost in costs] == [(2, 32, 6, 6, 6)] * 2 + [(64, 1, 784)] * 2
    assert all(ratio.median > 0 for cost in costs for ratio in (cost.forward, cost.both))


def test_memory_of_a_batch_is_told_beside_that_of_a_subspace_for_each_row() -> None:
    one, three = (local_memory("cpu", rows=rows) for rows in (1, 3))

    assert one.parameters == three.parameters
    assert (three.naive, three.features) == (3 * one.naive, 3 * one.features)


def test_work_is_counted_alike_with_and_without_contents() -> None:
    network = build(Config(blocks=6, hidden=32), seed=0)  # that of the preset
    with counted(network) as found, torch.inference_mode():
        network(torch.zeros(8, 1, 3, 8), torch.zeros(8, 4), offsets(6))

    assert line_work(3, 8).operations == 2 * found.macs


def test_half_as_many_lines_are_about_half_of_the_work() -> None:
    one, two = line_work(40, 64), line_work(20, 64)

    assert one.bytes / two.bytes == pytest.approx(2, rel=0.1)
    assert one.kernels == two.kernels


def test_a_step_is_three_forward_passes_and_no_gradient_of_the_input() -> None:
    work, items = step_work()
    forward = line_work(20, 64)

    assert items >= 2
    assert work.operations / forward.operations == pytest.approx(3 * items / 8, rel=0.02)


def test_arithmetic_of_a_draw_grows_with_the_length_of_the_stack_twice() -> None:
    one, two = draw_work((32, 28, 25)), draw_work((32, 28, 50))

    assert two.operations == pytest.approx(4 * one.operations)
    assert two.bytes == pytest.approx(2 * one.bytes)


def test_nothing_is_expected_to_be_faster_than_the_floor() -> None:
    gpu = expected(SHAPE, 10**12)

    assert all(span.expected >= span.floor > 0 for span in (gpu.mean, gpu.draws, gpu.step))
    assert 0 < gpu.step_share < 1


def test_a_gpu_twice_as_fast_takes_half_as_long() -> None:
    names = ("operations", "single", "bytes", "link")
    faster = {name: 2 * getattr(H200, name) for name in names}
    twice = dataclasses.replace(H200, launch=H200.launch / 2, **faster)

    one, two = expected(SHAPE, 10**12), expected(SHAPE, 10**12, twice)

    assert two.mean.expected == pytest.approx(one.mean.expected / 2)
    assert two.step.expected == pytest.approx(one.step.expected / 2)


def test_a_cohort_is_drawn_while_it_is_learnt_from() -> None:
    slow, fast = (scale_of(SHAPE, step(data, 2.0), 1.0, None) for data in (3.0, 1.0))

    assert slow.minutes[1] == pytest.approx(1.5 * fast.minutes[1])
    assert slow.minutes[8] == pytest.approx(slow.minutes[1] / 8)
    assert slow.bends.startswith("data: 2 threads")
    assert fast.bends.startswith("arithmetic")


def test_a_cache_beyond_main_memory_bends_first() -> None:
    scale = scale_of(SHAPE, step(1.0, 2.0), 1.0, 2**30)

    assert scale.cache_bytes > 2**30
    assert scale.bends.startswith("memory")


@pytest.mark.slow
def test_commands_are_measured_as_processes() -> None:
    found = startup("cpu", repeats=1)

    assert 0 < found.help.median < found.tiny.median


def test_a_command_that_ends_otherwise_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="must end with 0, got 2"):
        _child(["--no-such-option"], 0)
