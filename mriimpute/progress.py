"""How long-running library code tells how far it is, without knowing who listens.

A loop over many things goes through a `Track`. What is one thing and takes long, such as a scan,
is told to a `Progress`: first how much work there is in each stage, then how much of it is done.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar, runtime_checkable

__all__ = ["SILENT", "Display", "Gauge", "Progress", "Provisional", "Track", "silent"]

T = TypeVar("T")

OWN_PACE = 0.1
"""Of a stage, that must be done before its own pace counts for the rest of it."""


class Progress:
    """How far a piece of work is. This one lets nobody know.

    Work is given in seconds of one CPU core, about: stages are compared by it, and a machine that
    is ten times as fast is found out.
    """

    def plan(self, stage: str, work: float) -> None:
        """Announces work to do in a stage; below 0: takes back so much of what is not done."""

    def advance(self, stage: str, work: float = 0.0) -> None:
        """Notes that so much of it is done; 0: the stage begins."""


SILENT = Progress()


class Provisional(Progress):
    """Announces a guess of work to come, and takes it back once that work itself is announced.

    Args:
        progress: Is told.
        stage: Of the guess.
        work: That is guessed; 0: none.
    """

    def __init__(self, progress: Progress, stage: str, work: float) -> None:
        self._progress, self._stage, self._guess = progress, stage, work
        if work:
            progress.plan(stage, work)

    def plan(self, stage: str, work: float) -> None:
        """Announces work to do in a stage."""
        if self._guess:
            self._progress.plan(self._stage, -self._guess)
            self._guess = 0.0
        self._progress.plan(stage, work)

    def advance(self, stage: str, work: float = 0.0) -> None:
        """Notes that so much of it is done; 0: the stage begins."""
        self._progress.advance(stage, work)


class Gauge(Progress):
    """How far a piece of work is, and how long it will still take.

    What is left of a stage takes as long as what is done of it did; a stage that has hardly begun
    goes at the pace of all that is done.

    Attributes:
        stage: That was heard of last.

    Args:
        stage: That it begins with.
        show: Called with this whenever there is something new.
        clock: Returns seconds.
    """

    def __init__(
        self, stage: str, show: Callable[["Gauge"], None], clock: Callable[[], float]
    ) -> None:
        self.stage = stage
        self._show, self._clock = show, clock
        self._planned: dict[str, float] = {}
        self._done: dict[str, float] = {}
        self._spent: dict[str, float] = {}
        self._begun = self._seen = clock()

    def plan(self, stage: str, work: float) -> None:
        """Announces work to do in a stage; below 0: takes back so much of what is not done."""
        planned = self._planned.get(stage, 0.0) + work
        self._planned[stage] = max(planned, self._done.get(stage, 0.0))

    def advance(self, stage: str, work: float = 0.0) -> None:
        """Notes that so much of it is done; 0: the stage begins."""
        now = self._clock()
        # What happened since was work on this stage, unless it begins: then on the one before.
        busy = stage if work else self.stage
        self._spent[busy] = self._spent.get(busy, 0.0) + now - self._seen
        done = self._done.get(stage, 0.0) + work
        self._done[stage] = min(done, self._planned.get(stage, 0.0))
        self.stage, self._seen = stage, now
        self._show(self)

    @property
    def elapsed(self) -> float:
        """Seconds since it was begun."""
        return self._clock() - self._begun

    @property
    def share(self) -> float:
        """How much of the work is done, from 0 to 1."""
        planned = sum(self._planned.values())
        return sum(self._done.values()) / planned if planned else 0.0

    @property
    def left(self) -> float | None:
        """Seconds that the rest will take; None where nothing is known yet."""
        known = [stage for stage, done in self._done.items() if done]
        if not known:
            return None
        pace = sum(self._spent[s] for s in known) / sum(self._done[s] for s in known)
        return sum(
            (work - self._done.get(stage, 0.0)) * self._pace(stage, pace)
            for stage, work in self._planned.items()
        )

    def _pace(self, stage: str, otherwise: float) -> float:
        done = self._done.get(stage, 0.0)
        return self._spent[stage] / done if done > OWN_PACE * self._planned[stage] else otherwise


@runtime_checkable
class Track(Protocol):
    """Passes items through and shows progress while they are consumed."""

    def __call__(
        self, items: Iterable[T], *, total: int, label: str, seconds: float | None = None
    ) -> Iterator[T]:
        """Yields `items`.

        Args:
            items: To pass through.
            total: How many there will be.
            label: What they are.
            seconds: After which the loop will end, if not before; None: no such limit.
        """
        ...


class Display(Track, Protocol):
    """A `Track` that also shows how far one item is."""

    def inside(self, label: str) -> AbstractContextManager[Progress]:
        """Returns the block in which one item is worked on.

        Args:
            label: What it is.
        """
        ...


class _Silent:
    """Shows nothing."""

    def __call__(
        self, items: Iterable[T], *, total: int, label: str, seconds: float | None = None
    ) -> Iterator[T]:
        """Passes items through."""
        yield from items

    def inside(self, label: str) -> AbstractContextManager[Progress]:
        """Returns a block that nobody hears of."""
        return nullcontext(SILENT)


silent = _Silent()
