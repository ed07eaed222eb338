"""Performs the tasks of an experiment, side by side, and writes what they show."""

import logging
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from mriimpute.errors import ConfigError, MriImputeError
from mriimpute.files import refuse_existing, sha256, writable_folder, write_json
from mriimpute.progress import Track, silent
from mriimpute.provenance import provenance
from mriimpute.reproduce import available
from mriimpute.reproduce._contract import Budget, Conclusion, Experiment, Task
from mriimpute.reproduce._data import Data
from mriimpute.reproduce._store import Finished, TaskStore
from mriimpute.reproduce._tables import write_tables

__all__ = ["Reproduction", "experiment", "reproduce"]

log = logging.getLogger(__name__)

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, slots=True, eq=False)
class Reproduction:
    """What was written, and what it says.

    Attributes:
        name: Of the experiment.
        title: What it is about.
        source: The figure or table of which paper.
        conclusion: Tables, plots, claims.
    """

    name: str
    title: str
    source: str
    conclusion: Conclusion


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
        raise ConfigError(f"no experiment is called {name!r}", hint=f"use one of {available()}")
    module: Any = import_module(f"mriimpute.reproduce.{name.replace('-', '_')}")
    return module


def reproduce(
    name: str,
    data: Data,
    out: Path,
    *,
    budget: Budget = "cpu",
    seed: int = 0,
    device: str = "cpu",
    jobs: int = 1,
    track: Track = silent,
    overwrite: bool = False,
    command: Sequence[str] = (),
) -> Reproduction:
    """Repeats an experiment of the papers and writes table.tsv, table.md and record.json.

    The same data, settings and seed give the same numbers for any number of jobs, and after any
    number of interruptions: a task that is finished is not done again.

    Args:
        name: Of the experiment.
        data: What it reads.
        out: The folder to write to.
        budget: "smoke" for seconds, "cpu" for minutes, "paper" for the published schedule.
        seed: Of every draw.
        device: "cpu" or "cuda:N".
        jobs: Processes that work side by side, with one thread each.
        track: Shows progress.
        overwrite: Do everything again, and replace what else is in `out`.
        command: The words of the command line, for the record.

    Raises:
        ConfigError: If there is no such experiment, or its data are missing.
        OutputError: If `out` holds something else.
    """
    begun = time.monotonic()
    module = experiment(name)
    inputs = [path for wanted in module.DATA for path in data.files(wanted)]
    _claim(out, overwrite=overwrite)
    tasks = module.tasks(budget, seed)
    if len({task.key for task in tasks}) != len(tasks):
        raise ValueError(f"the tasks of {name} must have different keys")

    checksums = [sha256(path) for path in inputs]
    work = Work(name=name, data=data, out=out, seed=seed, device=device, checksums=checksums)
    store = TaskStore(out)
    done = {task.key: store.load(task.key, work.identity(task)) for task in tasks}
    todo = [task for task in tasks if done[task.key] is None]
    if len(todo) < len(tasks):
        log.info("%d of %d tasks were finished before", len(tasks) - len(todo), len(tasks))
    for task, result in track(_results(work, todo, jobs), total=len(todo), label=name):
        if isinstance(result, Failure):
            raise result.kind(result.problem, hint=result.hint)
        done[task.key] = result

    finished = {key: entry for key, entry in done.items() if entry is not None}
    outcomes = {key: entry.outcome for key, entry in finished.items()}
    reproduction = Reproduction(
        name, module.TITLE, module.SOURCE, module.conclude(outcomes, budget)
    )
    write_tables(out, reproduction.title, reproduction.source, reproduction.conclusion)
    record = provenance(
        command=command,
        seed=seed,
        device=_device_name(device),
        seconds=time.monotonic() - begun,
        inputs=inputs,
        settings={"experiment": name, "budget": budget, "jobs": jobs},
    )
    write_json(out / "record.json", record | _found(reproduction, tasks, finished))
    log.info("%s: table.md, table.tsv, record.json", out)
    return reproduction


def _claim(out: Path, *, overwrite: bool) -> None:
    if overwrite:
        shutil.rmtree(out / "tasks", ignore_errors=True)
    elif not (out / "tasks").is_dir():
        refuse_existing(out, overwrite=False)
    writable_folder(out / "tasks")


def _results(
    work: Work, tasks: Sequence[Task], jobs: int
) -> Iterator[tuple[Task, Finished | Failure]]:
    if jobs == 1 or len(tasks) < 2:
        with _one_thread():
            for task in tasks:
                yield task, _attempt(task, work)
        return

    # Spawned, not forked: the threads of a parent that has loaded torch do not survive a fork.
    context = multiprocessing.get_context("spawn")
    workers = min(jobs, len(tasks))
    with (
        _one_thread(),
        ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker) as pool,
    ):
        futures = {pool.submit(_attempt, task, work): task for task in tasks}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except KeyboardInterrupt:
            for worker in multiprocessing.active_children():
                worker.terminate()  # a task may take hours
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _attempt(task: Task, work: Work) -> Finished | Failure:
    begun = time.monotonic()
    try:
        outcome = experiment(work.name).perform(
            task, work.data, seed=work.seed, device=work.device
        )
    except MriImputeError as error:
        return Failure(type(error), f"{' '.join(task.key)}: {error}", error.hint)
    store, identity = TaskStore(work.out), work.identity(task)
    store.keep(task.key, identity, outcome, time.monotonic() - begun)
    stored = store.load(task.key, identity)  # as the next run will find it
    if stored is None:
        raise ValueError(f"the outcome of {task.key} does not come back from disk")
    return stored


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the parent ends it
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


def _found(
    reproduction: Reproduction, tasks: Sequence[Task], finished: Mapping[tuple[str, ...], Finished]
) -> dict[str, Any]:
    conclusion = reproduction.conclusion
    return {
        "title": reproduction.title,
        "source": reproduction.source,
        "task_seconds": round(sum(entry.seconds for entry in finished.values()), 3),
        "tasks": [
            {
                "key": list(task.key),
                "settings": task.settings,
                "seconds": finished[task.key].seconds,
                "numbers": finished[task.key].outcome.numbers,
            }
            for task in tasks
        ],
        "tables": [asdict(table) for table in conclusion.tables],
        "claims": [asdict(claim) for claim in conclusion.claims],
    }


def _device_name(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    return f"{device} ({torch.cuda.get_device_name(device)})"
