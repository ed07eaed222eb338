"""What every way of imputing promises."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from mriimpute.methods.footprint import Footprint
from mriimpute.volume import Volume

__all__ = ["Imputation", "Imputer", "Trace"]

Image = Float32[np.ndarray, "i j k"]
Region = Bool[np.ndarray, "i j k"]


@dataclass(frozen=True, slots=True)
class Trace:
    """What a method that is fitted to the scan itself did while it was fitted.

    Attributes:
        fitted: The loss on the data that is fitted, at every `every`-th step.
        held_out: The loss on acquired data that is held out, at the same steps; empty where
            nothing is held out.
        every: Steps between two entries.
        stopped_at: The step whose result was kept.
    """

    fitted: tuple[float, ...]
    held_out: tuple[float, ...]
    every: int
    stopped_at: int


@dataclass(frozen=True, slots=True, eq=False)
class Imputation:
    """A completed volume and how sure it is, on the grid of the volume, in its units.

    Attributes:
        mean: The conditional mean.
        std: The predictive standard deviation, zero where acquired; None where the method gives
            none.
        draw: Returns posterior draw number n >= 1, the same for each call and for any number of
            other draws; None where the method gives none.
        trace: How it was fitted to this scan; None where nothing is fitted step by step.
        log_density: Returns a lower bound of the log density of the truth in a region of missing
            voxels, given what was observed, in nats per voxel; for whoever judges, who knows the
            truth. None where the method has no such density.
    """

    mean: Image
    std: Image | None = None
    draw: Callable[[int], Image] | None = None
    trace: Trace | None = None
    log_density: Callable[[Image, Region], float] | None = None


class Imputer(ABC):
    """Fills the unobserved voxels of a volume. `f(a y + b) = a f(y) + b` for a > 0."""

    name: str
    device: str = "cpu"
    """Where it computes."""
    gives_draws: bool = True
    """Whether its imputations have draws, known before any work is done."""
    footprint: Footprint = Footprint()
    """What it takes of main memory."""

    @abstractmethod
    def impute(
        self, volume: Volume, *, seed: int, case: str, tile: int, keep_observed: bool = True
    ) -> Imputation:
        """Returns the completed volume.

        Args:
            volume: Unobserved voxels may be NaN.
            seed: Of the run.
            case: Names the scan in random streams: same seed and case, same draws.
            tile: Edge, in voxels, of the region worked on at once. It bounds memory and changes
                no bit of the result.
            keep_observed: Return acquired voxels bit for bit. A method that passes through them
                anyway need not look at this.
        """
