"""What every method promises: to impute a volume and, where it is trained, to learn from scans.

A method without training is an `Imputer`, such as this one, which fills with what is usual:

    class Median(Imputer):
        name = "median"
        gives_draws = False

        def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
            usual = np.median(volume.data[volume.observed])
            return Imputation(np.where(volume.observed, volume.data, np.float32(usual)))

A `Volume` has `data`, `observed` and `affine`, see `mriimpute.volume`. A method that is trained
also has a `Learner`, which the one loop in `mriimpute.training` drives, and whose tensors its
imputer is made of: `mriimpute.methods.ridge` is the smallest. Both become known by one line in
`mriimpute.methods.registry`.

A method that takes long may tell how far it is; one that does not is as good:

    self.progress.plan("planes", 30.0)  # seconds on one CPU core, about
    for plane in planes:
        ...
        self.progress.advance("planes", 30.0 / len(planes))
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Float32
from numpy.typing import NDArray

from mriimpute.cohort.preprocess import Task
from mriimpute.errors import ConfigError
from mriimpute.methods.memory_estimate import MemoryEstimate
from mriimpute.progress import SILENT, Progress
from mriimpute.volume import Companion, Volume

if TYPE_CHECKING:
    from torch import Tensor

    from mriimpute.cohort import Cache, Cohort
    from mriimpute.distributed import World

__all__ = [
    "LEAST_COMPANION_DB",
    "Gain",
    "Imputation",
    "Imputer",
    "Learner",
    "Tensors",
    "Trace",
]

LEAST_COMPANION_DB = 0.05
"""Of gain by companions: what is less changes nothing, and is said to be nothing."""

Image = Float32[np.ndarray, "i j k"]
Values = Float[np.ndarray, "i j k"]
"""In double precision where single precision cannot hold those that were acquired."""
Region = Bool[np.ndarray, "i j k"]
Tensors = Mapping[str, "Tensor"] | Mapping[str, NDArray[Any]]


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
        quality: What the method measured on the scan's own slices, as plain values for JSON.
    """

    mean: Values
    std: Values | None = None
    draw: Callable[[int], Values] | None = None
    trace: Trace | None = None
    log_density: Callable[[Image, Region], float] | None = None
    quality: Mapping[str, Any] = field(default_factory=dict)

    def drawn(self, number: int) -> Values:
        """Returns posterior draw number n >= 1.

        Raises:
            ConfigError: If the method gives none.
        """
        if self.draw is None:
            raise ConfigError(
                "this method gives no draws", hint="leave samples out or use cross-plane"
            )
        return self.draw(number)


class Imputer(ABC):
    """Fills the unobserved voxels of a volume. `f(a y + b) = a f(y) + b` for a > 0.

    Attributes:
        name: In tables, sidecars and `--model`.
        device: Where it computes, "cpu" or "cuda:N".
        gives_draws: Whether its imputations have draws, known before any work is done.
        memory_estimate: What it takes of main memory.
        draw_seconds: What a draw takes of one CPU core, about, for a million voxels.
        progress: Is told how far it is.
        uses_companions: Whether other scans of the same head can help it.
        companions: Those that do.
    """

    name: str
    device: str = "cpu"
    gives_draws: bool = True
    memory_estimate: MemoryEstimate = MemoryEstimate()
    draw_seconds: float = 0.05
    progress: Progress = SILENT
    uses_companions: bool = False
    companions: Sequence[Companion] = ()

    @property
    def arithmetic(self) -> str:
        """What it multiplies, for the record."""
        return "float32"

    @abstractmethod
    def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
        """Returns the completed volume. Acquired voxels come back bit for bit.

        Args:
            volume: Unobserved voxels may be NaN.
            seed: Names all random streams, with `case`.
            case: Names the scan in random streams: same seed and case, same draws.
        """

    @classmethod
    def without_weights(cls, name: str, device: str) -> "Imputer":
        """Returns the method of that name, one that needs no weights. By default `cls()`.

        Args:
            name: As in the registry, where one class may stand for several methods.
            device: "cpu" or "cuda:N"; of no use to most.
        """
        return cls()

    @classmethod
    def from_checkpoint(
        cls, tensors: Mapping[str, "Tensor"], metadata: Mapping[str, Any], *, device: str
    ) -> "Imputer":
        """Returns the imputer of a model file, as read by `mriimpute.checkpoint.load`.

        Args:
            tensors: What the `model` of its learner returned.
            metadata: Settings of the run: "name", and each table of its learner.
            device: "cpu" or "cuda:N".

        Raises:
            CheckpointError, ConfigError, KeyError, TypeError, ValueError: If something is missing
                or does not fit; whoever loads the file says so in one error.
        """
        raise NotImplementedError(f"{cls.__name__} is not trained")

    def reporting(self, progress: Progress) -> "Imputer":
        """Returns the imputer that tells `progress` how far it is."""
        told = copy.copy(self)
        told.progress = progress
        return told

    def accompanied(self, companions: Sequence[Companion]) -> "Imputer":
        """Returns the imputer that other scans of the same head help.

        Args:
            companions: On the grid of the volume that is imputed.
        """
        if companions and not self.uses_companions:
            raise ValueError(f"{self.name} uses no companions")
        helped = copy.copy(self)
        helped.companions = tuple(companions)
        return helped

    def placed_best(
        self, volume: Volume, placings: Sequence[Companion], *, seed: int, case: str
    ) -> int:
        """Returns which placing of a companion tells most of a volume; 0 where nothing says.

        Args:
            volume: To be imputed.
            placings: The companion where its header puts it, then otherwise.
            seed: Names all random streams, with `case`.
            case: Names the companion in them.
        """
        return 0

    def hurried(self) -> "Imputer":
        """Returns the imputer that computes faster and less exactly, where it can."""
        return self

    def tiled(self, tile: int) -> "Imputer":
        """Returns the imputer that works on regions of edge `tile`, in voxels, one at a time.

        Regions bound the memory and change no bit of a result. A method that needs none, as it
        sees whole slices or lines at once, is returned as it is.
        """
        return self


@dataclass(frozen=True, slots=True)
class Gain:
    """What training gave.

    Attributes:
        words: In a sentence, for whoever trained.
        numbers: The same, for the record.
        is_gain: It gave anything.
    """

    words: str
    numbers: Mapping[str, float]
    is_gain: bool


class Learner(ABC):
    """A model under training.

    The loop in `mriimpute.training` calls, once for a run: `tasks`, to have scans read; `steps`;
    `load`, if the run goes on; `prepare`; `begin`, if the run is new. Then, for each step:
    `batch`, `step`, and `report` where a line of the journal is due; `model`, `tensors` and
    `numbers` where it saves. At the end, or at a stop: `gain`. The loop alone counts steps, keeps
    the journal, saves, stops and resumes.

    Attributes:
        done: Steps taken; the loop counts them, and `load` sets it.
        unit: What a step learns from, in messages.
        units: How many of them a step learns from.
        counter: Key of the journal under which these are counted.
        label: What the progress bar says.
        save_minutes: From one checkpoint to the next; 0: one after each step.
        is_shared: Whether processes share its steps; otherwise the main one takes all of them.
        identity: What tells this run from others, next to settings and cohort.
        settled: Whether a report has found that there is no more to learn: the run ends early.
    """

    done: int = 0
    unit: str = "steps"
    units: int = 1
    counter: str = "step"
    label: str = "training"
    save_minutes: float = 0.0
    is_shared: bool = False
    identity: Mapping[str, Any] = {}

    @property
    def settled(self) -> bool:
        """See above; by default, a run takes all of its steps."""
        return False

    @classmethod
    @abstractmethod
    def tables(cls, name: str) -> dict[str, type]:
        """Returns the tables of settings of a model: a frozen dataclass for each name.

        Args:
            name: Of the model, as `--model` takes it.
        """

    @classmethod
    @abstractmethod
    def build(
        cls, name: str, *, seed: int, device: str, world: "World", **tables: Any
    ) -> "Learner":
        """Returns the learner at the beginning of a run.

        Args:
            name: Of the model, as `--model` takes it.
            seed: Names all random streams.
            device: "cpu" or "cuda:N".
            world: The processes that share the run.
            tables: Settings, as `tables` lists them.

        Raises:
            ConfigError: If the model cannot be built from its settings.
        """

    @abstractmethod
    def steps(self, scans: "Cohort") -> int:
        """Returns the steps of the whole run.

        Args:
            scans: To learn from and to validate on.
        """

    def tasks(self, scans: "Cohort") -> list[Task]:
        """Returns what is to be read of each scan, before training starts.

        `prepare` finds it in its cache: `cache.sparse(path)` for voxels, which is the default, and
        `cache.slices(path)` for slices.

        Args:
            scans: To learn from and to validate on.
        """
        return [Task(path) for path in (*scans.train, *scans.val)]

    @abstractmethod
    def prepare(self, scans: "Cohort", cache: "Cache") -> None:
        """Makes ready what it learns from.

        Args:
            scans: To learn from and to validate on.
            cache: Has the scans, or they are read now.

        Raises:
            TrainingError: If there is nothing to learn from.
        """

    def begin(self) -> dict[str, Any] | None:
        """Returns the first line of the journal, before any step; None for no such line."""
        return None

    def batch(self, step: int) -> Any:
        """Returns what a step learns from. Called ahead of time, by a thread of its own.

        Its randomness is named after the step, so nothing about it needs to be stored.
        """
        return None

    @abstractmethod
    def step(self, step: int, batch: Any) -> None:
        """Takes a step.

        Args:
            step: Its number, from 0.
            batch: What `batch` returned for it.

        Raises:
            TrainingError: If the loss or its gradient is not finite.
        """

    def is_reported(self) -> bool:
        """Tells whether a line of the journal is due; one always is after the last step."""
        return True

    @abstractmethod
    def report(self, seconds: float) -> dict[str, Any]:
        """Returns a line of the journal: losses, validation, speed. The loop adds the counter.

        Args:
            seconds: Since this process began to take steps.
        """

    @abstractmethod
    def model(self) -> Tensors:
        """Returns what the imputer is made of."""

    @abstractmethod
    def tensors(self) -> Tensors:
        """Returns the tensors that the next step depends on."""

    def numbers(self) -> dict[str, Any]:
        """Returns the plain values that the next step depends on; `step` among them."""
        return {"step": self.done}

    @abstractmethod
    def load(
        self, tensors: Mapping[str, "Tensor"], numbers: Mapping[str, Any], where: Path
    ) -> None:
        """Becomes what `tensors` and `numbers` came from.

        Args:
            tensors: As `tensors` returned them.
            numbers: As `numbers` returned them.
            where: The file, for messages.

        Raises:
            CheckpointError: If they do not fit the model.
        """

    def gain(self, journal: Sequence[Mapping[str, Any]]) -> Gain | None:
        """Returns what training gave, as far as that was validated; None where it was not.

        Args:
            journal: All lines of the run.
        """
        return None
