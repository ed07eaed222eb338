"""The tasks of an experiment, one by one or in processes side by side."""

import multiprocessing
import os
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from mriimpute.errors import ConfigError, MriImputeError, TrainingError
from mriimpute.papers import available, module_of
from mriimpute.papers._data import Data
from mriimpute.papers._experiment import Experiment, Task
from mriimpute.papers._store import Finished, TaskStore
from mriimpute.workers import begin_worker

__all__ = ["Failure", "Work", "experiment", "results"]

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


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
    workers = min(jobs, len(tasks), os.cpu_count() or 1)
    with _one_thread():
        yield from _in_pool(work, tasks, workers) if workers > 1 else _in_turn(work, tasks)


def _in_turn(work: Work, tasks: Sequence[Task]) -> Iterator[tuple[Task, Finished | Failure]]:
    for task in tasks:
        yield task, _attempt(task, work)


def _in_pool(
    work: Work, tasks: Sequence[Task], workers: int
) -> Iterator[tuple[Task, Finished | Failure]]:
    # Spawned, not forked: the threads of a parent that has loaded torch do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker) as pool:
        futures = {pool.submit(_attempt, task, work): task for task in tasks}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise TrainingError(
                "a process was killed from outside, perhaps for want of memory",
                hint="pass fewer --jobs; the same command goes on where it stopped",
            ) from error
        except BaseException:  # Ctrl-C, a failed task: the others may take hours
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


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


def _begin_worker() -> None:
    begin_worker()
    torch.set_num_threads(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread here and in processes started: sums then do not depend on the machine."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    threads = torch.get_num_threads()
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
