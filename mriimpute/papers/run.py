"""Performs the tasks of an experiment, side by side, and writes what they show."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mriimpute.files import sha256, write_json
from mriimpute.papers._pool import Failure, Work, experiment, results
from mriimpute.papers.data import Data
from mriimpute.papers.experiment import Budget, Conclusion, Task
from mriimpute.papers.store import RUNS, Finished, TaskStore, prepare
from mriimpute.papers.tables import write_tables
from mriimpute.progress import Track, silent
from mriimpute.provenance import provenance

__all__ = ["Reproduction", "reproduce"]

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
        OutputError: If `out` holds something else, or another reproduction.
    """
    begun = time.monotonic()
    module = experiment(name)
    inputs = [path for wanted in module.DATA for path in data.files(wanted)]
    prepare(out, name, budget, seed, overwrite=overwrite)
    tasks = module.tasks(budget, seed)
    if len({task.key for task in tasks}) != len(tasks):
        raise ValueError(f"the tasks of {name} must have different keys")

    checksums = [sha256(path) for path in inputs]
    kept = replace(data, runs=out / RUNS)
    work = Work(name=name, data=kept, out=out, seed=seed, device=device, checksums=checksums)
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
        inputs=inputs,
        settings={"experiment": name, "budget": budget, "jobs": jobs},
    )
    write_json(out / "record.json", record | _results(reproduction, tasks, finished))
    log.info("%s: table.md, table.tsv, record.json", out)
    return reproduction


def _perform(
    work: Work, tasks: Sequence[Task], jobs: int, track: Track
) -> dict[tuple[str, ...], Finished]:
    """Returns all tasks, finished, in their order; those that were are not done again."""
    store = TaskStore(work.out)
    done = {task.key: store.load(task.key, work.identity(task)) for task in tasks}
    todo = [task for task in tasks if done[task.key] is None]
    if len(todo) < len(tasks):
        log.info("%d of %d tasks were finished before", len(tasks) - len(todo), len(tasks))
    with closing(results(work, todo, jobs)) as performed:
        for task, result in track(performed, total=len(todo), label=work.name):
            if isinstance(result, Failure):
                raise result.kind(result.problem, hint=result.hint)
            done[task.key] = result
    return {key: entry for key, entry in done.items() if entry is not None}


def _results(
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
