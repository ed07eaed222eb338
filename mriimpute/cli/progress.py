"""Progress: a bar with time left on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from mriimpute.progress import Track, silent

__all__ = ["Bars", "Lines", "choose_track", "duration"]

T = TypeVar("T")


def choose_track(*, wanted: bool, terminal: bool) -> Track:
    """Returns the way to show progress on stderr; `terminal` tells whether that is one."""
    if not wanted:
        return silent
    return Bars() if terminal else Lines()


def duration(seconds: float) -> str:
    """Returns a time to read.

    Example:
        >>> duration(7.4), duration(75.0), duration(7260.0)
        ('7 s', '1:15 min', '2:01 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


class Lines:
    """Writes a line now and then: the first after 5 s, at most some 50 for a run of any length.

    Args:
        write: Takes one line; by default it goes to stderr.
        clock: Returns seconds.
    """

    def __init__(
        self,
        write: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.write = write or (lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201
        self.clock = clock

    def __call__(self, items: Iterable[T], *, total: int, label: str) -> Iterator[T]:
        """Yields `items`; `total` is how many there will be, `label` what they are."""
        begun = self.clock()
        due = begun + 5
        spoken = False
        done = 0
        for item in items:
            yield item
            done += 1
            now = self.clock()
            if now >= due and done < total:
                elapsed = now - begun
                left = elapsed / done * (total - done)
                self.write(f"{label}: {done / total:4.0%} ({done}/{total}), {duration(left)} left")
                due = now + max(10.0, (elapsed + left) / 50)
                spoken = True
        if spoken:
            self.write(f"{label}: done ({done}/{total}) in {duration(self.clock() - begun)}")


class Bars:
    """Shows one rich bar per loop that is running, nested ones below each other, on stderr."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.running = 0
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            redirect_stdout=False,  # results go there, unchanged
            transient=True,
        )

    def __call__(self, items: Iterable[T], *, total: int, label: str) -> Iterator[T]:
        """Yields `items`; `total` is how many there will be, `label` what they are."""
        if self.running == 0:
            self.progress.start()
        self.running += 1
        task = self.progress.add_task(label, total=total)
        try:
            for item in items:
                yield item
                self.progress.advance(task)
        finally:
            self.progress.remove_task(task)
            self.running -= 1
            if self.running == 0:
                self.progress.stop()
