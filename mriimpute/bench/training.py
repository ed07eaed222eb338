"""One step of training: forward, backward and the step of the optimiser, and the data for it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mriimpute.bench.phantom import Shape, sparse_head
from mriimpute.bench.timing import Timing, synchronizer
from mriimpute.cohort.slices import acquired_slices
from mriimpute.cohort.sparse import sparse
from mriimpute.config import merge
from mriimpute.methods.base import Learner
from mriimpute.methods.cross_plane.learner import LineLearner
from mriimpute.methods.patches.learner import PatchLearner
from mriimpute.training.run import build
from mriimpute.training.settings import preset, read

__all__ = ["DENSE", "Step", "training_step"]

WARM_UP = 2

DIGITS = {"patch": [28, 28], "architecture": "dense"}
DENSE: Mapping[str, Mapping[str, Any]] = {
    "mvae": {"model": DIGITS, "train": {"batch": 20}},
    "tae": {"model": {**DIGITS, "skip": False}, "train": {"batch": 20}},
}
"""As of Tonolini et al., 2021, for digits: so small that every call of a library counts."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of training.

    Attributes:
        items: Crops or patches of a step.
        data: Seconds to draw them.
        descent: Seconds to learn from them.
        processor: Seconds of processor time, of all threads, of both.
    """

    items: int
    data: Timing
    descent: Timing
    processor: Timing

    @property
    def seconds(self) -> float:
        """Of a step, nothing overlapped."""
        return self.data.median + self.descent.median


def training_step(
    name: str, size: Shape, device: str, *, repeats: int, changes: Mapping[str, Any] | None = None
) -> Step | None:
    """Returns what a step costs, with the settings of the preset; None where there are no steps.

    Args:
        name: Of a model that can be trained.
        size: Grid of the scan that it learns from.
        device: "cpu" or "cuda:N".
        repeats: Steps that count.
        changes: To these settings.
    """
    learner = _learner(name, size, device, changes or {})
    if learner is None:
        return None
    data, descent, processor = [], [], []
    synchronize = synchronizer(device)
    for number in range(WARM_UP + repeats):
        begun, used = time.perf_counter(), time.process_time()
        batch = learner.batch(number)
        drawn = time.perf_counter()
        learner.step(number, batch)
        synchronize()
        if number >= WARM_UP:
            data.append(drawn - begun)
            descent.append(time.perf_counter() - drawn)
            processor.append(time.process_time() - used)
    return Step(learner.units, *map(Timing.of, (data, descent, processor)))


def _learner(name: str, size: Shape, device: str, changes: Mapping[str, Any]) -> Learner | None:
    """Returns what takes the steps, with a head to learn from; None where there are no steps."""
    learner = build(read(merge(preset(name), changes), seed=0), device=device)
    match learner:
        case LineLearner():
            slices = acquired_slices(sparse_head(size), "head")
            if slices is None:
                raise ValueError(f"a head of {size} has no slices")
            learner.scans = [slices]
        case PatchLearner():
            learner.scans = [sparse(sparse_head(size), "head")]
        case _:
            return None
    return learner
