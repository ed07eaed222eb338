"""Progress: bars with time left on a terminal, a line every ten seconds elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from mriimpute.progress import Display, Gauge, Progress, silent

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["Bars", "Lines", "choose_track", "duration"]

T = TypeVar("T")

FIRST_LINE, EVERY = 5.0, 10.0
"""Seconds until there is something to say, and from then on from line to line."""

MOST_LINES = 360
"""Of a loop: one in ten seconds for an hour, one in two minutes for a night."""

LONGEST_LABEL = 28
"""Characters of a name beside a bar: 80 are all that a terminal is sure to have."""


def choose_track(*, wanted: bool, terminal: bool) -> Display:
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


@dataclass
class _Loop:
    """A loop that is running.

    Attributes:
        label: What its items are.
        total: How many there are.
        begun: When, in seconds of the clock.
        seconds: After which it will end, if not before.
        done: Items.
        spoken: It has been heard of.
    """

    label: str
    total: int
    begun: float
    seconds: float | None
    done: int = 0
    spoken: bool = False

    def left(self, now: float, gauge: Gauge | None = None) -> float | None:
        """Returns the seconds that are left; None where nothing is known yet.

        Args:
            now: By the clock.
            gauge: Of the item that is worked on.
        """
        elapsed = now - self.begun
        done = self.done + (gauge.share if gauge else 0.0)
        left = elapsed / done * (self.total - done) if done else None
        if gauge and gauge.left is not None and self.total - self.done == 1:
            left = gauge.left
        if self.seconds is None:
            return left
        limit = max(self.seconds - elapsed, 0.0)
        return limit if left is None else min(left, limit)

    def share(self, now: float) -> float:
        """Returns how much of it is done, from 0 to 1."""
        shares = [self.done / self.total]
        if self.seconds:
            shares.append(min((now - self.begun) / self.seconds, 1.0))
        return max(shares)


class Lines:
    """Writes a line now and then: the first after 5 s, then one every 10 s, in long runs fewer.

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
        self._loop: _Loop | None = None
        self._due = 0.0

    def __call__(
        self, items: Iterable[T], *, total: int, label: str, seconds: float | None = None
    ) -> Iterator[T]:
        """Yields `items`, as `Track` does."""
        outer, loop = self._loop, _Loop(label, total, self.clock(), seconds)
        self._loop = loop
        if outer is None:
            self._due = loop.begun + FIRST_LINE
        try:
            for item in items:
                yield item
                loop.done += 1
                if loop.done < total:
                    self._say(loop)
            if loop.spoken:
                took = duration(self.clock() - loop.begun)
                self.write(f"{label}: done ({loop.done}/{total}) in {took}")
        finally:
            self._loop = outer

    @contextmanager
    def inside(self, label: str) -> Iterator[Progress]:
        """Returns the block in which one item is worked on, as `Display` does."""
        if self._loop is None:
            self._due = self.clock() + FIRST_LINE
        yield Gauge("reading", lambda gauge: self._say(self._loop, gauge, label), self.clock)

    def _say(self, loop: _Loop | None, gauge: Gauge | None = None, label: str = "") -> None:
        now = self.clock()
        if now < self._due:
            return
        elapsed, left = 0.0, gauge.left if gauge else None
        parts = [f"{label}: {gauge.share:4.0%}, {gauge.stage}"] if gauge else []
        if loop and (loop.total > 1 or not gauge):
            loop.spoken = True
            elapsed, left = now - loop.begun, loop.left(now, gauge)
            parts.insert(0, f"{loop.label}: {loop.share(now):4.0%} ({loop.done}/{loop.total})")
        if left is not None:
            parts[0] += f", {duration(left)} left"
        self.write("; ".join(parts))
        self._due = now + max(EVERY, (elapsed + (left or 0.0)) / MOST_LINES)


class Bars:
    """Shows a rich bar per loop and item that is worked on, below each other, on stderr."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self.running = 0
        self.clock = time.monotonic
        self._loops: list[tuple[_Loop, TaskID]] = []
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[at]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            console=Console(stderr=True),
            redirect_stdout=False,  # results go there, unchanged
            transient=True,
            expand=True,
        )

    def __call__(
        self, items: Iterable[T], *, total: int, label: str, seconds: float | None = None
    ) -> Iterator[T]:
        """Yields `items`, as `Track` does."""
        with self._bar(label, at=f"0/{total}") as bar:
            loop = _Loop(label, total, self.clock(), seconds)
            self._loops.append((loop, bar))
            try:
                for item in items:
                    yield item
                    loop.done += 1
                    self._show_loop()
            finally:
                self._loops.pop()

    @contextmanager
    def inside(self, label: str) -> Iterator[Progress]:
        """Returns the block in which one item is worked on, as `Display` does."""
        label = _shortened(label)
        alone = bool(self._loops) and self._loops[-1][0].total == 1
        if alone:  # one bar is enough
            self.progress.update(self._loops[-1][1], description=label, at="reading")
        with nullcontext(self._loops[-1][1]) if alone else self._bar(label, at="reading") as bar:

            def show(gauge: Gauge) -> None:
                at, left = f"{gauge.stage} {gauge.share:4.0%}", _left(gauge.left)
                self._update(bar, gauge.share, at, left)
                if self._loops and not alone:
                    self._show_loop(gauge)

            self.progress.start()
            try:
                yield Gauge("reading", show, self.clock)
            finally:
                self.progress.stop()  # what is printed now would stand beside a bar

    def _show_loop(self, gauge: Gauge | None = None) -> None:
        loop, bar = self._loops[-1]
        now = self.clock()
        share = max(loop.share(now), (loop.done + (gauge.share if gauge else 0.0)) / loop.total)
        self._update(bar, share, f"{loop.done}/{loop.total}", _left(loop.left(now, gauge)))

    def _update(self, bar: "TaskID", share: float, at: str, left: str) -> None:
        self.progress.update(bar, completed=share, at=at, left=left)

    @contextmanager
    def _bar(self, label: str, *, at: str) -> Iterator["TaskID"]:
        if self.running == 0:
            self.progress.start()
        self.running += 1
        bar = self.progress.add_task(label, total=1.0, at=at, left="")
        try:
            yield bar
        finally:
            self.progress.remove_task(bar)
            self.running -= 1
            if self.running == 0:
                self.progress.stop()


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"{duration(seconds)} left"


def _shortened(label: str) -> str:
    """Returns a name whose middle is left out, where it is long."""
    if len(label) <= LONGEST_LABEL:
        return label
    half = (LONGEST_LABEL - 3) // 2
    return f"{label[:half]}...{label[-half:]}"
