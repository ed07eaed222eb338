"""Tests for mriimpute.bench.arithmetic and mriimpute.bench.floor."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mriimpute.bench.arithmetic import ConvCall, count_macs
from mriimpute.bench.floor import convolution_rate, copy_rate, product_rates
from mriimpute.methods.cross_plane.conditioning import offsets
from mriimpute.methods.cross_plane.network import Config, build


def test_a_small_network_is_counted_as_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 6, (1, 3), groups=3), nn.Flatten(),
        nn.Linear(6 * 4 * 3, 7),
    )  # fmt: skip

    with count_macs(network) as found:
        network(torch.zeros(2, 2, 4, 5))

    first = 2 * 3 * 4 * 5 * (2 * 9)  # outputs times what each is a sum of
    second = 2 * 6 * 4 * 3 * (1 * 3)
    assert (found.conv_macs, found.other_macs) == (first + second, 2 * 7 * 72)


def test_the_line_network_is_counted_as_torch_counts_it() -> None:
    network = build(Config(channels=6, blocks=2, hidden=4), seed=0)
    lines, conditioning = torch.zeros(2, 1, 5, 9), torch.zeros(2, 4)

    with count_macs(network) as found, FlopCounterMode(display=False) as theirs:
        network(lines, conditioning, offsets(4))

    assert 2 * found.macs == theirs.get_total_flops()


@given(
    axes=st.integers(1, 3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
)
def test_any_convolution_is_counted_as_torch_counts_it(
    axes: int, kernel: int, stride: int, dilation: int, groups: int
) -> None:
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    layer = kind(4, 6, kernel, stride=stride, dilation=dilation, groups=groups)

    with count_macs(layer) as found, FlopCounterMode(display=False) as theirs:
        layer(torch.zeros(2, 4, *(7,) * axes))

    # Theirs leaves groups out of account.
    assert 2 * found.macs * groups in {theirs.get_total_flops(), groups * theirs.get_total_flops()}


def test_after_the_block_nothing_is_counted() -> None:
    layer = nn.Conv2d(1, 1, 1)

    with count_macs(layer) as found:
        layer(torch.zeros(1, 1, 2, 2))
    layer(torch.zeros(1, 1, 2, 2))

    assert found.macs == 4


def test_the_shape_of_a_call_makes_the_same_convolution_again(generator: torch.Generator) -> None:
    layer = nn.Conv2d(3, 5, 3, padding=1, stride=2)
    x = torch.randn(2, 3, 6, 8, generator=generator).contiguous(memory_format=torch.channels_last)

    with count_macs(layer) as found:
        y = layer(x)

    (call,) = found.calls
    again = nn.functional.conv2d(
        torch.zeros(call.x), torch.zeros(call.weight), None, call.stride, call.padding
    )
    assert again.shape == y.shape
    assert (call.last, call.bias, call.macs) == (True, True, y.numel() * 27)


def test_a_convolution_in_another_precision_is_told_from_one_in_single_precision() -> None:
    layer = nn.Conv2d(3, 5, 1)

    with count_macs(layer) as found:
        for kind in (torch.float32, torch.float64):
            layer.to(kind)(torch.zeros(1, 3, 4, 4, dtype=kind))

    assert {call.kind: times for call, times in found.calls.items()} == {
        torch.float32: 1,
        torch.float64: 1,
    }
    assert convolution_rate(found.calls, "cpu", repeats=1).shapes == 2


def call(channels: int) -> ConvCall:
    x, weight = (1, channels, 4, 4), (channels, channels, 3, 3)
    macs = 16 * channels * channels * 9
    return ConvCall(x, weight, (1, 1), (1, 1), (1, 1), 1, True, False, macs)


def test_small_parts_are_taken_to_be_as_fast_as_large_ones() -> None:
    calls = Counter({call(16): 50, call(2): 1})

    rate = convolution_rate(calls, "cpu", repeats=1)

    assert rate.shapes == 1
    assert 0.95 < rate.covered < 1
    assert rate.operations == 2 * (50 * call(16).macs + call(2).macs)
    assert rate.low <= rate.seconds <= rate.high


def test_rates_are_amounts_over_medians() -> None:
    (product,) = product_rates("cpu", size=16, repeats=3)
    copy = copy_rate("cpu", megabytes=1, repeats=3)

    assert (product.amount, copy.amount) == (2 * 16**3, 2 * 2**20)
    assert copy.per_second == pytest.approx(copy.amount / copy.timing.median)


@pytest.mark.gpu
def test_a_gpu_is_measured_in_every_precision() -> None:
    rates = product_rates("cuda:0", size=64, repeats=2)

    assert [rate.name for rate in rates] == [
        "product float32",
        "product tf32",
        "product bfloat16",
        "product float16",
    ]
