"""Processes that work for another one: what each of them does first."""

import multiprocessing
import os
import signal
import threading

__all__ = ["begin_worker"]


def begin_worker() -> None:
    """Ties this process to its parent: the initializer of every pool.

    Ctrl-C is left to the parent, which alone knows what should be finished first. A parent that
    was killed can end nobody: the worker then ends by itself, as no one waits for it any more.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
