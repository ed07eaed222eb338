"""Processes that work for another one: what each of them does first, and with how many threads."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["THREAD_VARIABLES", "allowed_threads", "begin_worker", "divided_threads"]

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
"""What libraries ask, when they load, for the number of their threads."""


def allowed_threads() -> int:
    """Returns how many threads may compute here: the limit that is in force, or one per core."""
    return _threads(os.environ.get(THREAD_VARIABLES[0]))


def begin_worker() -> None:
    """Ties this process to its parent: the initializer of every pool.

    Ctrl-C is left to the parent, which alone knows what should be finished first. A parent that
    was killed can end nobody: the worker then ends by itself, as no one waits for it any more.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


@contextmanager
def divided_threads(workers: int) -> Iterator[None]:
    """Gives processes that are started inside the block an equal share of the threads each.

    A limit that is already in force is what is shared.
    """
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    for name, limit in before.items():
        os.environ[name] = str(max(1, _threads(limit) // workers))
    try:
        yield
    finally:
        for name, limit in before.items():
            if limit is None:
                del os.environ[name]
            else:
                os.environ[name] = limit


def _threads(limit: str | None) -> int:
    return max(1, int(limit)) if limit and limit.isdecimal() else os.cpu_count() or 1


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
