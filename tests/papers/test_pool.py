"""Tests for mriimpute.papers._pool."""

import os
import pickle
from pathlib import Path

import pytest

from mriimpute import workers
from mriimpute.errors import OutputError, TrainingError
from mriimpute.papers import _pool
from mriimpute.papers._pool import Failure, Work, results
from mriimpute.papers.data import Data
from mriimpute.papers.experiment import Outcome, Task

TASKS = [Task(key=(str(n),), settings={}) for n in range(3)]


def end(task: Task, work: Work) -> None:
    """Ends the process, as a system does that is out of memory."""
    os._exit(1)


class Nothing:
    """An experiment whose tasks find nothing."""

    def perform(self, task: Task, data: Data, *, seed: int, device: str) -> Outcome:
        return Outcome({})


def work_in(out: Path) -> Work:
    return Work(name="n", data=Data(None), out=out, seed=0, device="cpu", checksums=[])


def test_outcome_that_cannot_be_written_is_a_failure_that_passes_between_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pool, "experiment", lambda name: Nothing())
    (tmp_path / "tasks").touch()  # no folder: nothing can be written below it

    ((_, result),) = results(work_in(tmp_path), TASKS[:1], jobs=1)

    assert isinstance(result, Failure)
    assert result.kind is OutputError
    assert "cannot write" in result.problem
    assert pickle.loads(pickle.dumps(result)) == result  # noqa: S301


@pytest.mark.usefixtures("quick_processes")
def test_killed_process_is_an_expected_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pool, "_attempt", end)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)

    with pytest.raises(TrainingError, match="was killed") as caught:
        list(results(work_in(tmp_path), TASKS, jobs=2))

    assert "--jobs" in caught.value.hint


@pytest.mark.parametrize(
    ("jobs", "tasks", "cores", "expected"), [(1000, 3, 2, 2), (2, 3, 8, 2), (9, 3, 8, 3)]
)
def test_processes_are_no_more_than_jobs_tasks_or_cores(
    jobs: int,
    tasks: int,
    cores: int,
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[int] = []
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(
        workers, "_in_pool", lambda work, tasks, count, *_: iter([started.append(count)])
    )

    list(results(work_in(tmp_path), TASKS[:tasks], jobs))

    assert started == [expected]
