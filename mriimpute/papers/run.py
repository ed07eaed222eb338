"""Performs the tasks of an experiment, side by side, and writes what they show."""

import logging
import os
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from mriimpute.errors import ConfigError, MriImputeError, OutputError, TrainingError
from mriimpute.files import write_json
from mriimpute.io import checksum, stem
from mriimpute.papers import available, module_of
from mriimpute.papers.data import Data
from mriimpute.papers.experiment import Budget, Conclusion, Experiment, Task
from mriimpute.papers.store import RUNS, Finished, TaskStore, made_by, prepare
from mriimpute.papers.tables import write_tables
from mriimpute.progress import Track, silent
from mriimpute.provenance import provenance
from mriimpute.workers import run_tasks

__all__ = ["Failure", "Reproduction", "Work", "experiment", "reproduce", "results"]

log = logging.getLogger(__name__)


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
    """What all tasks of a reproduction have in common.

    Attributes:
        name: Of the experiment.
        data: Where its data lie.
        out: The folder to write to.
        budget: "smoke", "cpu" or "paper".
        seed: Of every random stream.
        device: "cpu" or "cuda:N".
        files: Name and checksum of each file of the data; subjects are split by their names.
    """

    name: str
    data: Data
    out: Path
    budget: Budget
    seed: int
    device: str
    files: Sequence[tuple[str, str]]

    def shared(self) -> dict[str, Any]:
        """Returns what all tasks have in common that decides their outcomes."""
        return {
            "experiment": self.name,
            "budget": self.budget,
            "seed": self.seed,
            "device": self.device.partition(":")[0],
            "data": list(self.files),
        }

    def identity(self, task: Task) -> dict[str, Any]:
        """Returns everything that decides the outcome of a task."""
        return self.shared() | {"settings": task.settings}


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
        name: One of `available()`.
        data: Where its data lie.
        out: The folder to write to.
        budget: "smoke" for seconds, "cpu" for minutes, "paper" for the published schedule.
        seed: Of every random stream.
        device: "cpu" or "cuda:N".
        jobs: Processes that work side by side, with one thread each.
        track: Shows progress.
        overwrite: Do everything again, and replace another reproduction in `out`.
        command: The words of the command line, for the record.

    Raises:
        ConfigError: If there is no such experiment, or its data are missing.
        MriImputeError: If tasks fail: the error of the first, when all others are done.
        OutputError: If `out` holds something else, or another reproduction.
    """
    begun = time.monotonic()
    module = experiment(name)
    inputs = [path for wanted in module.DATA for path in data.files(wanted)]
    files = [(stem(path), checksum(path)) for path in inputs]
    kept = replace(data, runs=out / RUNS)
    work = Work(
        name=name, data=kept, out=out, budget=budget, seed=seed, device=device, files=files
    )
    prepare(out, work.shared(), overwrite=overwrite)
    tasks = module.tasks(budget, seed)
    if len({task.key for task in tasks}) != len(tasks):
        raise ValueError(f"the tasks of {name} must have different keys")

    finished = _perform(work, tasks, jobs, track)
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
        settings={"experiment": name, "budget": budget, "jobs": jobs},
    )
    record["inputs"] = [
        {"name": path.name, "sha256": digest}
        for path, (_, digest) in zip(inputs, files, strict=True)
    ]
    write_json(out / "record.json", record | _contents(reproduction, tasks, finished))
    log.info("%s: table.md, table.tsv, record.json", out)
    return reproduction


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


def _perform(
    work: Work, tasks: Sequence[Task], jobs: int, track: Track
) -> dict[tuple[str, ...], Finished]:
    """Returns all tasks, finished, in their order; those that were are not done again.

    One that fails costs no other: the error comes when the others are done. Where nothing can be
    written it comes at once, as they could not be kept.
    """
    store = TaskStore(work.out)
    done = {task.key: store.load(task.key, work.identity(task)) for task in tasks}
    todo = [task for task in tasks if done[task.key] is None]
    if len(todo) < len(tasks):
        log.info("%d of %d tasks were finished before", len(tasks) - len(todo), len(tasks))
    _warn_of_versions([entry for entry in done.values() if entry is not None])
    failures: dict[tuple[str, ...], Failure] = {}
    with closing(results(work, todo, jobs)) as performed:
        for task, result in track(performed, total=len(todo), label=work.name):
            if not isinstance(result, Failure):
                done[task.key] = result
                continue
            if issubclass(result.kind, OutputError):
                raise result.kind(result.problem, hint=result.hint)
            log.warning("%s (other tasks go on)", result.problem)
            failures[task.key] = result
    if failed := [failures[task.key] for task in todo if task.key in failures]:
        problem = f"{len(failed)} of {len(tasks)} tasks failed: {failed[0].problem}"
        raise failed[0].kind(problem, hint=failed[0].hint)
    return {key: entry for key, entry in done.items() if entry is not None}


def _warn_of_versions(finished: Sequence[Finished]) -> None:
    """Tells which tasks another version than the running one has done."""
    others = [entry.versions for entry in finished if entry.versions != made_by()]
    if others:
        told = {_words(versions) for versions in others}
        log.warning(
            "finished tasks are of %s, %d in all: pass --overwrite to do everything with %s",
            "; ".join(sorted(told)),
            len(others),
            _words(made_by()),
        )


def _words(versions: Mapping[str, str]) -> str:
    return " and ".join(map(" ".join, versions.items()))


def results(
    work: Work, tasks: Sequence[Task], jobs: int
) -> Generator[tuple[Task, Finished | Failure]]:
    """Yields each task with its result, in the order in which they end.

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


def _contents(
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
                "versions": finished[task.key].versions,
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
