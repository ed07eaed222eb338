"""Seconds of what is done again and again, and the memory of what is done once.

A measurement is the median of its repetitions with both quartiles, after calls that are not
counted: the first one of all chooses kernels, fills caches and touches fresh memory.
"""

import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from mriimpute.errors import ResourceError
from mriimpute.memory import keep_freed_memory
from mriimpute.workers import run_in_subprocess

__all__ = [
    "Memory",
    "Ratio",
    "Timing",
    "compared",
    "in_subprocess",
    "resident_bytes",
    "synchronizer",
    "timed",
]

T = TypeVar("T")

STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one repetition.

    Attributes:
        median: Of the repetitions.
        low: Lower quartile.
        high: Upper quartile.
        repeats: How many there were.
        per: What the seconds are divided by: 2 for two draws at once.
    """

    median: float
    low: float
    high: float
    repeats: int
    per: float = 1.0

    @classmethod
    def of(cls, seconds: list[float], *, per: float = 1.0) -> "Timing":
        """Returns the summary of repetitions; at least one.

        Example:
            >>> Timing.of([3.0, 1.0, 2.0, 5.0, 4.0])
            Timing(median=3.0, low=2.0, high=4.0, repeats=5, per=1.0)
        """
        scaled = [second / per for second in seconds]
        if len(scaled) == 1:
            return cls(scaled[0], scaled[0], scaled[0], 1, per)
        low, median, high = statistics.quantiles(scaled, n=4, method="inclusive")
        return cls(median, low, high, len(scaled), per)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as long one thing takes as another.

    Attributes:
        median: Of pairs that were measured one right after the other.
        low: Lower quartile.
        high: Upper quartile.
        repeats: How many pairs there were.
    """

    median: float
    low: float
    high: float
    repeats: int


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process of its own took, in bytes.

    Attributes:
        peak: The most that it ever held of main memory.
        before: What it held of it before the work began: the interpreter and the libraries.
        gpu_peak: The most that tensors held on the GPU; 0 without one.
    """

    peak: int
    before: int
    gpu_peak: int = 0

    @classmethod
    def since(cls, before: int, device: str) -> "Memory":
        """Returns what this process took until now.

        Args:
            before: What `resident_bytes` said before the work.
            device: "cpu" or "cuda:N".
        """
        gpu = 0
        if device != "cpu":
            import torch

            gpu = int(torch.cuda.max_memory_allocated(device))
        return cls(resident_bytes(peak=True), before, gpu)

    @property
    def work(self) -> int:
        """What the work took beyond what was there before."""
        return max(self.peak - self.before, 0)


def timed(
    work: Callable[[], object],
    *,
    repeats: int,
    device: str = "cpu",
    warm_up: int = 1,
    per: float = 1.0,
    budget: float = math.inf,
) -> Timing:
    """Returns how long `work` takes.

    Args:
        work: What to measure.
        repeats: Calls that count, at most.
        device: Where it computes, "cpu" or "cuda:N".
        warm_up: Calls before them.
        per: What the seconds are divided by.
        budget: Seconds after which no further call begins; the first one is always made.
    """
    synchronize = synchronizer(device)
    for _ in range(warm_up):
        work()
    seconds: list[float] = []
    while len(seconds) < repeats and (not seconds or sum(seconds) < budget):
        synchronize()
        begun = time.perf_counter()
        work()
        synchronize()
        seconds.append(time.perf_counter() - begun)
    return Timing.of(seconds, per=per)


def compared(
    work: Callable[[], object], reference: Callable[[], object], *, repeats: int, device: str
) -> Ratio:
    """Returns how many times as long `work` takes as `reference`.

    Both by turns: what slows a machine down for a second slows both of a pair.

    Args:
        work: What is measured.
        reference: What it is divided by.
        repeats: Pairs.
        device: Where both compute, "cpu" or "cuda:N".
    """
    ratios = []
    for warm_up in (2, *(0,) * (repeats - 1)):
        seconds, reference_seconds = (
            timed(call, repeats=1, device=device, warm_up=warm_up).median
            for call in (work, reference)
        )
        ratios.append(seconds / reference_seconds)
    ratio = Timing.of(ratios)
    return Ratio(ratio.median, ratio.low, ratio.high, repeats)


def synchronizer(device: str) -> Callable[[], None]:
    """Returns what waits until a device has done all that was asked of it; the CPU always has."""
    if device == "cpu":
        return lambda: None
    import torch

    return lambda: torch.cuda.synchronize(device)


def in_subprocess(work: Callable[[], T]) -> T:
    """Returns what `work` returns in a process of its own: its memory is nobody else's.

    Raises:
        ResourceError: If the process was killed: most often, memory ran out.
    """
    function = getattr(work, "func", work)  # of a partial
    killed = ResourceError(
        f"the process that measured {function.__name__} was ended from outside",
        hint="memory may have run out: pass a smaller --size",
    )
    return run_in_subprocess(partial(_as_command, work), killed=killed)


def _as_command(work: Callable[[], T]) -> T:
    keep_freed_memory()  # as every command does
    return work()


def resident_bytes(*, peak: bool = False) -> int:
    """Returns what this process holds of main memory, or the most that it ever held."""
    if STATUS.is_file():
        # Not getrusage: what a parent held when it forked counts there as this process's own.
        field = "VmHWM:" if peak else "VmRSS:"
        for line in STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    return _from_usage()


def _from_usage() -> int:
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
