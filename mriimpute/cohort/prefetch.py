"""The next batch is drawn while the device is busy with this one."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["prefetched"]

T = TypeVar("T")

AHEAD = 2
"""Batches that wait to be learnt from, at most."""


def prefetched(draw: Callable[[int], T], steps: Iterable[int]) -> Iterator[tuple[int, T]]:
    """Yields each step and what `draw` returns for it, drawn by a thread ahead of time.

    The order is that of `steps`, and one draw is made at a time. An error of a draw is raised at
    its own step. Whoever stops early waits for the draw that is being made.

    Args:
        draw: Returns a batch. All its randomness is named after the step.
        steps: Numbers of the steps.
    """
    pool = ThreadPoolExecutor(1, "draw")
    waiting: deque[tuple[int, Future[T]]] = deque()
    try:
        for step in steps:
            waiting.append((step, pool.submit(draw, step)))
            if len(waiting) > AHEAD:
                yield _first(waiting)
        while waiting:
            yield _first(waiting)
    finally:
        pool.shutdown(cancel_futures=True)


def _first(waiting: deque[tuple[int, Future[T]]]) -> tuple[int, T]:
    step, drawn = waiting.popleft()
    return step, drawn.result()
