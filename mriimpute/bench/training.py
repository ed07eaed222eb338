"""One step of training: forward, backward and the step of the optimiser, and the data for it."""

import time
from dataclasses import dataclass

from mriimpute.bench.phantom import Shape, sparse_head
from mriimpute.bench.timing import Timing, synchronizer
from mriimpute.cohort.slices import acquired_slices
from mriimpute.cohort.sparse import sparse
from mriimpute.methods.base import Learner
from mriimpute.methods.cross_plane.learner import LineLearner
from mriimpute.methods.patches.learner import PatchLearner
from mriimpute.training.run import build
from mriimpute.training.settings import preset, read

__all__ = ["Step", "training_step"]

WARM_UP = 2


@dataclass(frozen=True, slots=True)
class Step:
    """A step of training.

    Attributes:
        items: Crops or patches of a step.
        data: Seconds to draw them.
        descent: Seconds to learn from them.
    """

    items: int
    data: Timing
    descent: Timing

    @property
    def seconds(self) -> float:
        """Of a step, nothing overlapped."""
        return self.data.median + self.descent.median


def training_step(name: str, size: Shape, device: str, *, repeats: int) -> Step | None:
    """Returns what a step costs, with the settings of the preset; None where there are no steps.

    Args:
        name: Of a model that can be trained.
        size: Grid of the scan that it learns from.
        device: "cpu" or "cuda:N".
        repeats: Steps that count.
    """
    learner = _learner(name, size, device)
    if learner is None:
        return None
    data, descent = [], []
    synchronize = synchronizer(device)
    for number in range(WARM_UP + repeats):
        begun = time.perf_counter()
        batch = learner.batch(number)
        drawn = time.perf_counter()
        learner.step(number, batch)
        synchronize()
        if number >= WARM_UP:
            data.append(drawn - begun)
            descent.append(time.perf_counter() - drawn)
    return Step(learner.units, Timing.of(data), Timing.of(descent))


def _learner(name: str, size: Shape, device: str) -> Learner | None:
    """Returns what takes the steps, with a head to learn from; None where there are no steps."""
    learner = build(read(preset(name), seed=0), device=device)
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
