"""Tests for mriimpute.workers."""

import errno
import logging
import multiprocessing
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from mriimpute.errors import ResourceError
from mriimpute.workers import (
    THREAD_VARIABLES,
    allowed_threads,
    available_cores,
    limited_threads,
    run_in_subprocess,
    run_tasks,
    stop_requested,
)

KILLED = ResourceError("it was ended", hint="ask for less")

PARENT = """
import os, signal, time
from mriimpute.errors import ResourceError
from mriimpute.workers import run_tasks

def work(n):
    os.kill(os.getpid(), signal.SIGINT)
    print("at work", flush=True)
    time.sleep(60)

if __name__ == "__main__":
    list(run_tasks(work, [1, 2], workers=2, killed=ResourceError("it was ended", hint="")))
"""


def test_workers_outlive_ctrl_c_and_end_with_a_parent_that_is_killed(
    killed: Callable[[str, int], list[str]],
) -> None:
    assert killed(PARENT, 2) == ["at work\n"] * 2


GROUPS = {
    "no quota": ({"cpu.max": "max 100000"}, 99),
    "two and a half cores": ({"cpu.max": "250000 100000"}, 2),
    "half a core": ({"cpu.max": "50000 100000"}, 1),
    "version 1": ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
    "version 1, none": ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 99),
    "the group above": ({"cpu.max": "200000 100000", "job/cpu.max": "400000 100000"}, 2),
    "damaged": ({"cpu.max": "much"}, 99),
}


@pytest.mark.parametrize("name", GROUPS)
def test_no_more_cores_than_the_quota_of_a_control_group_pays_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, expected = GROUPS[name]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(99)), raising=False)
    for file, text in {"proc/self/cgroup": "4:cpu,cpuacct:/\n0::/job\n"}.items() | {
        (f"sys/fs/cgroup/{file}", f"{text}\n") for file, text in files.items()
    }:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)

    assert available_cores(tmp_path) == expected


def test_no_more_cores_than_the_affinity_mask_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)

    assert available_cores(tmp_path) == 2


def late_first(number: int) -> int:
    """The first of two tasks ends last."""
    time.sleep(1.0 if number == 0 else 0.0)
    return os.getpid()


@pytest.mark.usefixtures("quick_processes")
@pytest.mark.parametrize(("ordered", "expected"), [(True, [0, 1]), (False, [1, 0])])
def test_results_come_in_order_or_as_they_are_finished(
    *, ordered: bool, expected: list[int]
) -> None:
    found = list(run_tasks(late_first, [0, 1], workers=2, killed=KILLED, ordered=ordered))

    assert [task for task, _ in found] == expected
    assert os.getpid() not in dict(found).values()


def test_one_worker_is_this_process() -> None:
    ((_, process),) = run_tasks(late_first, [1], workers=8, killed=KILLED)

    assert process == os.getpid()


def threads_of(_: int) -> tuple[set[str | None], int]:
    return {os.environ.get(name) for name in THREAD_VARIABLES}, torch.get_num_threads()


@pytest.mark.usefixtures("quick_processes")
@pytest.mark.parametrize(("threads", "expected"), [(0, 3), (1, 1)])
def test_processes_share_the_threads_allowed_here(
    threads: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "7")
    before = threads_of(0)

    found = run_tasks(threads_of, [0, 1], workers=2, killed=KILLED, threads=threads)

    assert [limits for _, limits in found] == [({str(expected)}, expected)] * 2
    assert threads_of(0) == before


@pytest.mark.usefixtures("quick_processes")
def test_a_single_process_keeps_the_threads_it_starts_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(THREAD_VARIABLES[0], "7")

    assert run_in_subprocess(allowed_threads, killed=KILLED) == 1  # as `quick_processes` begin


def logged(number: int) -> None:
    logging.getLogger("mriimpute.made_up").info("task %d", number)
    logging.getLogger("mriimpute.made_up").debug("not wanted")


@pytest.mark.usefixtures("quick_processes")
@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_logged_is_said_here(workers: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mriimpute")

    list(run_tasks(logged, [1, 2], workers=workers, killed=KILLED, ordered=True))

    assert caplog.messages == ["task 1", "task 2"]


def until_stopped(folder: Path, number: int) -> None:
    (folder / f"{number} begun").touch()
    while number and not stop_requested():
        time.sleep(0.01)
    (folder / f"{number} finished").touch()


@pytest.mark.usefixtures("quick_processes")
@pytest.mark.parametrize("abandon", [False, True])
def test_a_stop_begins_nothing_and_finishes_or_abandons_what_has_begun(
    tmp_path: Path, *, abandon: bool
) -> None:
    work = partial(until_stopped, tmp_path)
    results = run_tasks(work, range(100), workers=2, killed=KILLED, abandon=abandon)
    next(results)
    while not list(tmp_path.glob("1 begun")):
        time.sleep(0.01)

    results.close()

    assert not multiprocessing.active_children()
    begun, finished = (len(list(tmp_path.glob(f"* {end}"))) for end in ("begun", "finished"))
    assert begun < 100
    assert (begun == finished) is not abandon


@pytest.mark.usefixtures("quick_processes")
def test_a_process_that_is_killed_is_the_error_that_was_given() -> None:
    with pytest.raises(ResourceError, match="it was ended"):
        list(run_tasks(os._exit, [1, 1], workers=2, killed=KILLED))
    with pytest.raises(ResourceError, match="it was ended"):
        run_in_subprocess(partial(os._exit, 1), killed=KILLED)


def test_shared_memory_that_cannot_be_used_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", refuse)

    with pytest.raises(ResourceError, match=r"shared memory .*: Read-only file system") as caught:
        next(run_tasks(abs, [1, 2], workers=2, killed=ResourceError("", hint="")))

    assert "make /dev/shm a folder" in caught.value.hint


def test_limits_end_with_the_block_even_when_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(THREAD_VARIABLES[0], "5")
    monkeypatch.delenv(THREAD_VARIABLES[1], raising=False)
    before = torch.get_num_threads()

    with pytest.raises(KeyError), limited_threads(2):  # noqa: PT012
        assert (allowed_threads(), torch.get_num_threads()) == (2, 2)
        raise KeyError

    assert (allowed_threads(), torch.get_num_threads()) == (5, before)
    assert THREAD_VARIABLES[1] not in os.environ
