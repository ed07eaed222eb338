"""What this machine can do: the floor under every time.

    product       2 n^3 operations of one large matrix product
    copy          bytes read and bytes written, of an array that no cache holds
    convolution   the convolutions of the default model, each alone and again and again, in the
                  layout of memory that is faster for it; 2 operations per multiply-accumulate

Layers next to each other cannot be faster than each alone, but for what stays in a cache.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mriimpute.bench.arithmetic import ConvCall
from mriimpute.bench.timing import Timing, timed
from mriimpute.seeds import stream

__all__ = ["ConvolutionCost", "Rate", "convolution_rate", "copy_rate", "product_rates"]

OPERATIONS = 2
"""Of a multiply-accumulate."""

MEASURED_FRACTION = 0.95
"""Of the arithmetic is measured, the largest parts first; the rest is taken to be as fast."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How much of something there is in a second.

    Attributes:
        name: What was measured.
        amount: In one repetition: operations or bytes.
        unit: "operations" or "bytes".
        timing: Of one repetition.
    """

    name: str
    amount: float
    unit: str
    timing: Timing

    @property
    def per_second(self) -> float:
        """The amount in a second, by the median."""
        return self.amount / self.timing.median


@dataclass(frozen=True, slots=True)
class ConvolutionCost:
    """The convolutions of a network, each by itself.

    Attributes:
        operations: Of all of them in one run of the network's work.
        seconds: What they take one by one, by the medians.
        low: The same by the lower quartiles.
        high: The same by the upper quartiles.
        covered: Share of the operations that was measured.
        shapes: Different shapes that were measured.
    """

    operations: float
    seconds: float
    low: float
    high: float
    covered: float
    shapes: int

    @property
    def per_second(self) -> float:
        """Operations in a second."""
        return self.operations / self.seconds


def product_rates(device: str, *, size: int, repeats: int) -> list[Rate]:
    """Returns the rates of a product of square matrices, in every precision that is used.

    Args:
        device: "cpu" or "cuda:N". On a CPU only float32 is used: bfloat16 may crash there.
        size: Rows and columns.
        repeats: Repetitions.
    """
    generator = stream(0, "bench", "product", device=device)
    a, b = torch.randn(2, size, size, device=device, generator=generator)
    rates = []
    for name, kind, tf32 in _precisions(device):
        x, y = a.to(kind), b.to(kind)
        with torch.inference_mode(), _tensor_cores(allowed=tf32):
            timing = _timed(partial(torch.matmul, x, y), device, repeats)
        rates.append(Rate(f"product {name}", OPERATIONS * float(size) ** 3, "operations", timing))
    return rates


def copy_rate(device: str, *, megabytes: int, repeats: int) -> Rate:
    """Returns how fast memory is copied; what is read and what is written both count.

    Args:
        device: "cpu" or "cuda:N".
        megabytes: Of the array, far beyond every cache.
        repeats: Repetitions.
    """
    source = torch.zeros(megabytes * 2**20 // 4, device=device)
    target = torch.empty_like(source)
    timing = _timed(lambda: target.copy_(source), device, repeats)
    return Rate("copy", 2.0 * source.nbytes, "bytes", timing)


def convolution_rate(calls: Counter[ConvCall], device: str, *, repeats: int) -> ConvolutionCost:
    """Returns how fast the convolutions of a network are one by one.

    Args:
        calls: What went through the network, see `mriimpute.bench.arithmetic.count_macs`.
        device: "cpu" or "cuda:N".
        repeats: Of each shape.
    """
    total = sum(call.macs * times for call, times in calls.items())
    measured, shapes, seconds = 0, 0, np.zeros(3)
    for call, times in sorted(calls.items(), key=lambda item: -item[0].macs * item[1]):
        if measured >= MEASURED_FRACTION * total:
            break
        timings = _convolution_timings(call, device, repeats)
        best = min(timings, key=lambda timing: timing.median)
        seconds += times * np.array([best.median, best.low, best.high])
        measured += call.macs * times
        shapes += 1
    median, low, high = (seconds * total / measured).tolist()
    return ConvolutionCost(OPERATIONS * float(total), median, low, high, measured / total, shapes)


def _convolution_timings(call: ConvCall, device: str, repeats: int) -> Iterator[Timing]:
    """Yields the time of one convolution in each layout of memory."""
    generator = stream(0, "bench", "convolution", device=device)
    x, weight = (
        torch.randn(shape, device=device, generator=generator).to(call.kind)
        for shape in (call.x, call.weight)
    )
    bias = torch.zeros(call.weight[0], device=device, dtype=call.kind) if call.bias else None
    conv = {3: functional.conv1d, 4: functional.conv2d, 5: functional.conv3d}[x.ndim]
    for y in _layouts(x):

        def run(y: Tensor = y) -> Tensor:
            return conv(y, weight, bias, call.stride, call.padding, call.dilation, call.groups)

        with torch.inference_mode(), _tensor_cores(allowed=False):
            yield _timed(run, device, repeats)


def _layouts(x: Tensor) -> Iterator[Tensor]:
    yield x
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.ndim)
    if last is not None and x.shape[1] > 1:
        yield x.contiguous(memory_format=last)


def _timed(work: Callable[[], object], device: str, repeats: int) -> Timing:
    return timed(work, repeats=repeats, device=device, warm_up=2)


def _precisions(device: str) -> list[tuple[str, torch.dtype, bool]]:
    plain = [("float32", torch.float32, False)]
    if device == "cpu":
        return plain
    halves = ("bfloat16", torch.bfloat16, False), ("float16", torch.float16, False)
    return [*plain, ("tf32", torch.float32, True), *halves]


@contextmanager
def _tensor_cores(*, allowed: bool) -> Iterator[None]:
    """Lets what is float32 round to tf32, or forbids it, inside the block; only CUDA minds."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=allowed):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
