"""Tests for mriimpute.bench.layers, timing and startup."""

import pytest
import torch
from torch.testing import assert_close

from mriimpute.bench import layers as layers_module
from mriimpute.bench.layers import layer_costs, local_memory
from mriimpute.bench.startup import _child, startup
from mriimpute.bench.timing import compared
from mriimpute.methods.patches.layers.linear import ObservedLinear


def test_a_loop_over_rows_solves_what_a_batch_does(generator: torch.Generator) -> None:
    layer = ObservedLinear(30, 4)
    y = torch.randn(5, 1, 30, generator=generator)
    observed = torch.rand(y.shape, generator=generator) < 0.5

    one_by_one = [layers_module._solved(layer, *row) for row in zip(y, observed, strict=True)]

    assert_close(torch.stack(one_by_one), layer(y, observed), rtol=1e-4, atol=1e-5)


def test_both_of_a_pair_are_measured_by_turns() -> None:
    said: list[str] = []

    ratio = compared(lambda: said.append("a"), lambda: said.append("b"), repeats=3, device="cpu")

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


@pytest.mark.slow
def test_commands_are_measured_as_processes() -> None:
    found = startup("cpu", repeats=1)

    assert 0 < found.help.median < found.tiny.median


def test_a_command_that_ends_otherwise_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="must end with 0, got 2"):
        _child(["--no-such-option"], 0)
