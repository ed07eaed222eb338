"""The arithmetic of a network, counted from the shapes that really went through its layers.

A layer that multiplies and adds for each of its outputs k numbers of its input and its weights
does k multiply-accumulates (MAC), two operations, per output:

    convolution   outputs * (input channels / groups) * prod(kernel)
    linear        outputs * inputs

All else (activations, sums, interpolation between lines) moves memory and is not arithmetic here.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ConvCall", "MacCounts", "count_macs"]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, slots=True)
class ConvCall:
    """What decides how long a convolution takes.

    Attributes:
        x: Shape of its input.
        weight: Shape of its weight.
        stride: Along each axis.
        padding: Along each axis.
        dilation: Along each axis.
        groups: Of channels.
        bias: Whether there is one.
        last: Whether channels are innermost in memory.
        macs: Multiply-accumulates.
        kind: Of its numbers: some devices compute in less than single precision.
    """

    x: tuple[int, ...]
    weight: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    bias: bool
    last: bool
    macs: int
    kind: torch.dtype = torch.float32


class MacCounts:
    """Multiply-accumulates of what went through a network.

    Attributes:
        calls: How often each convolution was computed.
        other_macs: Multiply-accumulates of linear layers.
    """

    def __init__(self) -> None:
        self.calls: Counter[ConvCall] = Counter()
        self.other_macs = 0

    @property
    def conv_macs(self) -> int:
        """Multiply-accumulates of convolutions."""
        return sum(call.macs * times for call, times in self.calls.items())

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers."""
        return self.conv_macs + self.other_macs


@contextmanager
def count_macs(network: nn.Module) -> Iterator[MacCounts]:
    """Counts what goes through the layers of a network inside the block."""
    counts = MacCounts()

    def count_conv(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        counts.calls[_call(layer, inputs[0], output)] += 1

    def count_linear(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        counts.other_macs += output.numel() * inputs[0].shape[-1]

    hooks = dict.fromkeys(CONVOLUTIONS, count_conv) | {nn.Linear: count_linear}
    handles = [
        layer.register_forward_hook(hook)
        for layer in network.modules()
        for kind, hook in hooks.items()
        if isinstance(layer, kind)
    ]
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()


def _call(layer: Any, x: Tensor, y: Tensor) -> ConvCall:
    if isinstance(layer.padding, str):
        raise TypeError(f"padding must be numbers, got {layer.padding!r}")
    return ConvCall(
        x=tuple(x.shape),
        weight=tuple(layer.weight.shape),
        stride=tuple(layer.stride),
        padding=tuple(layer.padding),
        dilation=tuple(layer.dilation),
        groups=layer.groups,
        bias=layer.bias is not None,
        last=_is_last(x),
        macs=y.numel() * prod(layer.weight.shape[1:]),
        kind=y.dtype,
    )


def _is_last(x: Tensor) -> bool:
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.ndim)
    return layout is not None and x.is_contiguous(memory_format=layout)
