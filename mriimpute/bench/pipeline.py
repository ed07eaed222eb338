"""The default model on one scan, from file to files as `mriimpute impute` does it, by stages.

Beside the clock stands the arithmetic: what goes through the network is counted, which takes less
than a hundredth of its time, and the same convolutions are then measured one by one.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mriimpute.bench.arithmetic import count_macs
from mriimpute.bench.floor import OPERATIONS, ConvolutionCost, convolution_rate
from mriimpute.bench.phantom import TINY, Shape, target_shape, write_head
from mriimpute.bench.timing import Memory, Timing, resident_bytes, synchronizer
from mriimpute.imputation.jobs import Job
from mriimpute.imputation.request import Request
from mriimpute.imputation.scan import impute_scan
from mriimpute.methods.base import Imputer
from mriimpute.methods.registry import DEFAULT, identity, load_imputer
from mriimpute.stopwatch import listening

__all__ = ["OUTSIDE", "Pipeline", "run_pipeline"]

FILES = ("read", "gunzip", "write", "gzip")
"""Stages that any tool has that reads a file and writes one."""

OUTSIDE = (*FILES, "draws")
"""Stages that are no part of a conditional mean in memory."""

REST = "rest"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One scan from file to files.

    Attributes:
        shape: Of the imputed grid.
        draws: That were written, too.
        total: Seconds of the command after its start-up.
        stages: Seconds of each stage; "rest" is what no stage claims.
        macs: Multiply-accumulates of the network.
        convolutions: Those of the network, each by itself.
        memory: Of the process.
    """

    shape: Shape
    draws: int
    total: Timing
    stages: dict[str, Timing]
    macs: int
    convolutions: ConvolutionCost
    memory: Memory

    @property
    def imputing(self) -> float:
        """Seconds without files and draws: what a conditional mean costs."""
        return sum(t.median for name, t in self.stages.items() if name not in OUTSIDE)

    @property
    def network_fraction(self) -> float:
        """Share of the rate of the convolutions alone that the network reaches.

        All else that the network does, its activations, say, counts as lost time.
        """
        operations = OPERATIONS * self.macs
        return operations / self.stages["network"].median / self.convolutions.per_second

    @property
    def outside_fraction(self) -> float:
        """Share of the time of a conditional mean that is not the network's, files left out."""
        return 1 - self.stages["network"].median / self.imputing


def run_pipeline(
    size: Shape, device: str, *, draws: int, repeats: int, conv_repeats: int
) -> Pipeline:
    """Returns where the time goes.

    Args:
        size: Of the imputed grid, about.
        device: "cpu" or "cuda:N".
        draws: To write.
        repeats: Of the whole; at least one.
        conv_repeats: Of each convolution.
    """
    before = resident_bytes()
    imputer = load_imputer(DEFAULT, device=device)
    with tempfile.TemporaryDirectory(prefix="mriimpute-bench-") as folder:
        scan = Path(folder, "head.nii.gz")
        run = _run(scan, imputer, draws)
        write_head(scan, TINY)
        run()
        write_head(scan, size)
        totals, stages = [], []
        for _ in range(repeats):
            with count_macs(imputer.network) as counts:  # type: ignore[attr-defined] # has one
                total, seconds = _timed_stages(run, device)
            totals.append(total)
            stages.append(seconds)
    memory = Memory.since(before, device)
    return Pipeline(
        shape=target_shape(size),
        draws=draws,
        total=Timing.of(totals),
        stages={name: Timing.of([each[name] for each in stages]) for name in stages[0]},
        macs=counts.macs,
        convolutions=convolution_rate(counts.calls, device, repeats=conv_repeats),
        memory=memory,
    )


def _run(scan: Path, imputer: Imputer, draws: int) -> Callable[[], Path]:
    job = Job(scan, scan.parent / "out")
    request = Request(model=identity(DEFAULT), samples=draws)

    def plain(facts: Mapping[str, Any]) -> dict[str, Any]:
        return dict(facts)

    return lambda: impute_scan(job, imputer, request, record=plain, overwrite=True)


def _timed_stages(run: Callable[[], object], device: str) -> tuple[float, dict[str, float]]:
    """Returns the seconds of the whole, and of each stage."""
    synchronize = synchronizer(device)
    synchronize()
    begun = time.perf_counter()
    with listening(synchronize) as stages:
        run()
    synchronize()
    total = time.perf_counter() - begun
    rest = total - sum(stages.seconds.values())
    return total, {**stages.seconds, REST: rest}
