"""The tasks of an experiment, one by one or in processes side by side."""

import os
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from mriimpute.errors import ConfigError, MriImputeError, TrainingError
from mriimpute.papers import available, module_of
from mriimpute.papers.data import Data
from mriimpute.papers.experiment import Experiment, Task
from mriimpute.papers.store import Finished, TaskStore
from mriimpute.workers import run_tasks

__all__ = ["Failure", "Work", "experiment", "results"]


@dataclass(frozen=True, slots=True)
class Failure:
    """An expected error, in a form that passes from process to process."""

    kind: type[MriImputeError]
    problem: str
    hint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What all tasks of a reproduction have in common."""

    name: str
    data: Data
    out: Path
    seed: int
    device: str
    checksums: Sequence[str]

    def identity(self, task: Task) -> dict[str, Any]:
        """Returns everything that decides the outcome of a task."""
        return {
            "experiment": self.name,
            "settings": task.settings,
            "seed": self.seed,
            "device": self.device.partition(":")[0],
            "data": list(self.checksums),
        }


def experiment(name: str) -> Experiment:
    """Returns an experiment by its name.

    Raises:
        ConfigError: If there is none of that name.
    """
    if name not in available():
        raise ConfigError(
            f"no experiment is called {name!r}", hint=f"use one of {', '.join(available())}"
        )
    module: Any = import_module(module_of(name))
    return module


def results(
    work: Work, tasks: Sequence[Task], jobs: int
) -> Generator[tuple[Task, Finished | Failure]]:
    """Yields each task with what came of it, in the order in which they end.

    Closing the iterator ends the processes, and the tasks they are at.

    Args:
        work: What the tasks have in common.
        tasks: To perform.
        jobs: Processes at most; more than there are cores would only take memory.

    Raises:
        TrainingError: If a process was killed.
    """
    killed = TrainingError(
        "a process was killed from outside, perhaps for want of memory",
        hint="pass fewer --jobs; the same command goes on where it stopped",
    )
    # With one thread each, sums do not depend on the machine. A task may take hours: whoever
    # stops does not wait for those of the other processes.
    return run_tasks(
        partial(_attempt, work=work),
        tasks,
        workers=min(jobs, os.cpu_count() or 1),
        threads=1,
        killed=killed,
        abandon=True,
    )


def _attempt(task: Task, work: Work) -> Finished | Failure:
    begun = time.monotonic()
    try:
        outcome = experiment(work.name).perform(
            task, work.data, seed=work.seed, device=work.device
        )
        store, identity = TaskStore(work.out), work.identity(task)
        store.keep(task.key, identity, outcome, time.monotonic() - begun)
    except MriImputeError as error:
        return Failure(type(error), f"{' '.join(task.key)}: {error}", error.hint)
    stored = store.load(task.key, identity)  # as the next run will find it
    if stored is None:
        raise ValueError(f"the outcome of {task.key} does not come back from disk")
    return stored
