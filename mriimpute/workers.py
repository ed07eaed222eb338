"""Processes that work for this one, and limits of threads: there are no others in the package.

Results never depend on the number of processes: a task knows nothing of the others, and a random
number comes from a named stream.
"""

import faulthandler
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from operator import call
from pathlib import Path
from typing import TypeVar

from mriimpute.control_groups import control_groups
from mriimpute.errors import MriImputeError, ResourceError

__all__ = [
    "allowed_threads",
    "available_cores",
    "begin_worker",
    "considerate_threads",
    "killed_worker",
    "limited_threads",
    "run_in_subprocess",
    "run_tasks",
    "stop_requested",
    "survives",
]

T = TypeVar("T")
R = TypeVar("R")

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
"""What libraries ask, when they load, for the number of their threads."""

PASSIVE = {
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "3000",
    "KMP_BLOCKTIME": "0",
    "OPENBLAS_THREAD_TIMEOUT": "4",
}
"""What makes threads of GNU and Intel OpenMP and of OpenBLAS sleep while they wait.

By default they spin for milliseconds: where others want the cores, too, they take them from the
very thread that they wait for. Those of GNU look some microseconds long first: that takes 6 % off
the time of a brain on two idle cores, and adds 5 % on busy ones (30,000 looks: 10 %, and 28 %).
"""

PACKAGE = logging.getLogger("mriimpute")


# --- threads ---------------------------------------------------------------------------------


def allowed_threads() -> int:
    """Returns how many threads may compute here: the limit in force, or one per core granted."""
    return _allowed(THREAD_VARIABLES[0])


def available_cores(root: Path = Path("/")) -> int:
    """Returns how many cores this process is granted, at least 1.

    That is as many as the machine has, the affinity mask names (`taskset`, a scheduler) and the
    quota of every control group pays for (`docker run --cpus`, Kubernetes), whatever is least.

    Args:
        root: Where `proc` and `sys` are.
    """
    has_mask = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_mask else os.cpu_count() or 1
    return max(1, min([cores, *(int(quota) for quota in _quotas(root))]))


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Limits the threads of every library, and of processes started, inside the block.

    Libraries read the variables when they load, which is why commands import them late; torch is
    told where it is loaded already.

    Args:
        threads: At most; 0 leaves everything as it is.
    """
    torch = sys.modules.get("torch") if threads else None
    before = torch.get_num_threads() if torch else 0
    with _variables(dict.fromkeys(THREAD_VARIABLES, threads) if threads else {}):
        if torch:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)


@contextmanager
def considerate_threads() -> Iterator[None]:
    """Makes libraries that are loaded inside the block good neighbours on a busy machine.

    They take no more threads than this process is granted, and threads that wait sleep. What the
    environment says already stays.
    """
    wanted = dict.fromkeys(THREAD_VARIABLES, str(allowed_threads())) | PASSIVE
    if os.environ.get("OMP_WAIT_POLICY"):
        del wanted["GOMP_SPINCOUNT"]  # it would have the last word
    with _variables({name: wish for name, wish in wanted.items() if not os.environ.get(name)}):
        yield


def _quotas(root: Path) -> Iterator[float]:
    """Yields how many cores each control group of this process pays for, where it has a quota."""
    for folder, is_v2 in control_groups(root, "cpu"):
        names = ("cpu.max",) if is_v2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        try:
            words = " ".join((folder / name).read_text("ascii") for name in names).split()
        except (OSError, ValueError):
            continue
        if len(words) == 2 and all(word.isdecimal() for word in words):  # none: "max", or -1
            quota, period = map(int, words)
            yield quota / max(period, 1)


@contextmanager
def _variables(limits: Mapping[str, object]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in limits}
    os.environ.update({name: str(limit) for name, limit in limits.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _allowed(variable: str) -> int:
    limit = os.environ.get(variable)
    return max(1, int(limit)) if limit and limit.isdecimal() else available_cores()


def _limits(threads: int, workers: int) -> dict[str, int]:
    """Returns the variables of each of several processes; a limit in force is what they share."""
    if threads:
        return dict.fromkeys(THREAD_VARIABLES, threads)
    if workers == 1:
        return {}
    return {name: max(1, _allowed(name) // workers) for name in THREAD_VARIABLES}


# --- processes -------------------------------------------------------------------------------


def run_tasks(
    work: Callable[[T], R],
    tasks: Sequence[T],
    *,
    workers: int,
    killed: MriImputeError,
    ordered: bool = False,
    threads: int = 0,
    abandon: bool = False,
) -> Generator[tuple[T, R]]:
    """Yields each task with its result; one worker is this process, several are others.

    What a process logs is logged here, with its result. Ctrl-C, an exception or closing the
    generator begins no further task, and waits for the processes to end.

    Args:
        work: What to do; travels to the processes, as tasks do.
        tasks: To perform.
        workers: Processes at most.
        killed: Raised if a process is ended from outside, see `killed_worker`.
        ordered: Results come in the order of the tasks, not in that in which they end.
        threads: Of each process; 0: an equal share of those allowed here.
        abandon: Tasks that have begun are ended at a stop, not finished.
    """
    workers = min(workers, len(tasks))
    if workers > 1:
        limits = _limits(threads, workers)
        yield from _in_pool(work, tasks, workers, limits, killed, ordered, abandon)
        return
    with limited_threads(threads):
        for task in tasks:
            yield task, work(task)


def run_in_subprocess(work: Callable[[], R], *, killed: MriImputeError) -> R:
    """Returns what `work` returns in a process of its own: its memory is nobody else's.

    Raises `killed` if that process is ended from outside.
    """
    ((_, result),) = _in_pool(call, [work], 1, {}, killed)
    return result


def survives(work: Callable[[], bool], *, seconds: float = 30.0) -> bool:
    """Tells whether a copy of this process gets through `work` and finds it well.

    An instruction that a CPU has not ends the process that meets it. A fork meets what this very
    process would, with the libraries as they are loaded here, and takes milliseconds. It has one
    thread, so work may start no others. False where there are no forks.

    Args:
        work: Returns whether all is well.
        seconds: After which it is given up.
    """
    if not hasattr(os, "fork"):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks where there are threads
        child = os.fork()
    if child == 0:
        faulthandler.disable()
        try:
            os._exit(not work())
        finally:
            os._exit(1)
    end, ended, status = time.monotonic() + seconds, 0, 0
    while not ended and time.monotonic() < end:
        time.sleep(0.002)
        ended, status = os.waitpid(child, os.WNOHANG)
    if not ended:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return False
    return os.waitstatus_to_exitcode(status) == 0


def killed_worker(doing: str) -> ResourceError:
    """Returns what is usually to be said of a process that was ended from outside.

    Args:
        doing: What it did, such as "scored scans".
    """
    return ResourceError(
        f"a process that {doing} was ended, most likely for want of memory",
        hint="run the same command again with fewer --jobs",
    )


def stop_requested() -> bool:
    """Returns whether a task should end early, at a point where nothing it did is lost."""
    return _stop is not None and _stop.is_set()


def begin_worker() -> None:
    """Ties this process to its parent: what every process that was started does first.

    Ctrl-C is left to the parent, which alone knows what should be finished first. A parent that
    was killed can end nobody: the worker then ends by itself, as no one waits for it any more.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _in_pool(
    work: Callable[[T], R],
    tasks: Sequence[T],
    workers: int,
    limits: Mapping[str, int],
    killed: MriImputeError,
    ordered: bool = False,
    abandon: bool = False,
) -> Generator[tuple[T, R]]:
    others = set(multiprocessing.active_children())
    pool, stop = _pool(workers, limits)
    try:
        with _variables(limits):  # processes start when tasks are submitted
            futures = {pool.submit(_recorded, work, task): task for task in tasks}
        for future in futures if ordered else as_completed(futures):
            result, records = future.result()
            for name, level, message in records:
                logging.getLogger(name).log(level, "%s", message)
            yield futures[future], result
    except BrokenProcessPool as error:
        raise killed from error
    except BaseException:
        if abandon:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
        raise
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _pool(workers: int, limits: Mapping[str, int]) -> tuple[ProcessPoolExecutor, Event]:
    """Returns a pool whose processes start when tasks are submitted, and the wish that they stop.

    Raises:
        ResourceError: If processes cannot share what they wait for.
    """
    # Spawned, not forked: the threads of a parent that has loaded torch do not survive a fork.
    context = multiprocessing.get_context("spawn")
    try:
        stop = context.Event()
        begin = stop, limits, PACKAGE.getEffectiveLevel()
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=begin)
    except (ImportError, OSError) as error:  # semaphores lie in /dev/shm, where there is one
        reason = getattr(error, "strerror", None) or error
        raise ResourceError(
            f"no other process can be begun, as shared memory cannot be used: {reason}",
            hint="make /dev/shm a folder that can be written (in a container a tmpfs), or pass "
            "--jobs 1 where there is such an option",
        ) from error
    return pool, stop


# --- inside of a process ---------------------------------------------------------------------

_stop: Event | None = None  # an event reaches a process only while it is started


def _begin(stop: Event, limits: Mapping[str, int], level: int) -> None:
    global _stop
    _stop = stop
    begin_worker()
    os.environ.update({name: str(limit) for name, limit in limits.items()})
    if limits and (torch := sys.modules.get("torch")):
        torch.set_num_threads(limits[THREAD_VARIABLES[0]])
    PACKAGE.setLevel(level)
    PACKAGE.propagate = False


class _Recorder(logging.Handler):
    """Keeps what is logged, as name of the logger, level and message, for who speaks."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append((record.name, record.levelno, record.getMessage()))


def _recorded(work: Callable[[T], R], task: T) -> tuple[R, list[tuple[str, int, str]]]:
    recorder = _Recorder()
    PACKAGE.addHandler(recorder)
    try:
        return work(task), recorder.records
    finally:
        PACKAGE.removeHandler(recorder)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
