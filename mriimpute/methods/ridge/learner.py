"""`cross-plane-ridge` learns in one pass: a step adds up all it needs of a scan."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mriimpute.checkpoint import understood
from mriimpute.cohort import Cache, Cohort, observed_beside, to_target_grid
from mriimpute.cohort.preprocess import Task
from mriimpute.cohort.stack import intensity_range, pixel_steps, slices_of
from mriimpute.distributed import World
from mriimpute.errors import TrainingError
from mriimpute.geometry import find_stack
from mriimpute.io import read_scan, warn_of_contents
from mriimpute.methods.base import Learner
from mriimpute.methods.ridge.moments import Config, Moments, moments_of_slices, packed, unpacked

__all__ = ["RidgeLearner"]

log = logging.getLogger(__name__)


class RidgeLearner(Learner):
    """Adds up the moments of the slices of each scan.

    Args:
        config: Settings of the filters.
    """

    unit, counter, label = "scans", "scans_seen", "adding up scans"

    def __init__(self, config: Config) -> None:
        self.config = config
        self.moments: dict[int, Moments] = {}
        self.scans: tuple[Path, ...] = ()

    @classmethod
    def tables(cls, name: str) -> dict[str, type]:
        """Returns the tables of settings: "model" alone."""
        return {"model": Config}

    @classmethod
    def build(
        cls, name: str, *, seed: int, device: str, world: World, **tables: Any
    ) -> "RidgeLearner":
        """Returns the learner at the beginning of a run. Nothing is random, or on a device."""
        return cls(tables["model"])

    def steps(self, scans: Cohort) -> int:
        """Returns the number of scans to learn from."""
        return len(scans.train)

    def tasks(self, scans: Cohort) -> list[Task]:
        """Returns what is to be read before training: each scan, of which nothing is kept."""
        return [Task(path, kept="nothing") for path in (*scans.train, *scans.val)]

    def prepare(self, scans: Cohort, cache: Cache) -> None:
        """Notes which scans there are: one after the other is read, in full precision."""
        self.scans = scans.train

    def step(self, step: int, batch: Any) -> None:
        """Adds up a scan."""
        for gap, more in moments_of(self.scans[step], self.config).items():
            self.moments[gap] = self.moments[gap] + more if gap in self.moments else more
        is_last = step + 1 == len(self.scans)
        if is_last and not any(m.count.any() for m in self.moments.values()):
            raise TrainingError(
                "no scan of the cohort is a stack of slices without holes, large enough to hide "
                "lines in, and with gaps between them",
                hint="train another --model, which takes any pattern of missing voxels",
            )

    def report(self, seconds: float) -> dict[str, Any]:
        """Returns how many pixels were seen, by size of the gap."""
        return {
            "scans_seen": self.done,
            "pixels": {str(gap): round(m.count.sum()) for gap, m in sorted(self.moments.items())},
            "seconds": round(seconds, 3),
        }

    def model(self) -> dict[str, NDArray[np.float64]]:
        """Returns the sums."""
        return packed(self.moments)

    def tensors(self) -> dict[str, NDArray[np.float64]]:
        """Returns the sums."""
        return packed(self.moments)

    def load(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any], where: Path) -> None:
        """Becomes what `tensors` and `numbers` came from."""
        with understood(where):
            self.moments = unpacked({key: tensor.numpy() for key, tensor in tensors.items()})
            self.done = int(numbers["step"])


def moments_of(path: Path, config: Config) -> dict[int, Moments]:
    """Returns what one scan teaches, by size of its gaps in voxels."""
    scan = read_scan(path, observed=observed_beside(path))
    warn_of_contents(scan)
    volume = to_target_grid(scan).volume
    stack = find_stack(volume.observed)
    if stack is None:
        log.warning("%s is no stack of slices and is left out", path.name)
        return {}

    slices = slices_of(volume, stack)
    whole = slices[np.isfinite(slices).all(axis=(1, 2))]
    scale, steps = intensity_range(volume), pixel_steps(volume, stack.axis)
    moments = {
        gap: moments_of_slices(whole, gap, scale, config, steps=steps)
        for gap in sorted({gap for gap in stack.gaps if gap > 1})
    }
    if not any(m.count.any() for m in moments.values()):
        log.warning("%s has no room to hide lines in and is left out", path.name)
    return moments
