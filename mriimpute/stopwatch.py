"""Where time goes: code names the stage that it spends time in, for whoever measures.

    with listening() as stages:
        impute(...)                      # which does `with stage("network"): ...` somewhere
    stages.seconds["network"]

A stage inside another one is taken out of it, so stages never count a second twice and their sum
is at most the time of the whole block. Where nobody listens a mark costs one look at a variable.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

__all__ = ["Stages", "listening", "stage"]


def _nothing() -> None:
    """Stands for waiting where nothing runs in the background."""


class Stages:
    """Seconds by stage.

    Attributes:
        seconds: Of each stage, without the stages inside it.
        calls: How often each began.

    Args:
        settle: Called before every look at the clock: waits for a device that works on alone.
        clock: Returns seconds.
    """

    def __init__(self, settle: Callable[[], None], clock: Callable[[], float]) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self._settle, self._clock = settle, clock
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Gives the time inside the block to `name`; what runs around it waits meanwhile."""
        self._turn()
        self._open.append(name)
        self.seconds.setdefault(name, 0.0)
        self.calls[name] = self.calls.get(name, 0) + 1
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def _turn(self) -> None:
        """Books the time since the last turn to the innermost stage."""
        self._settle()
        now = self._clock()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now


_listener: ContextVar[Stages | None] = ContextVar("listener", default=None)
_SILENT: AbstractContextManager[None] = nullcontext()


def stage(name: str) -> AbstractContextManager[None]:
    """Returns the block that is stage `name`; one and the same idle block where nobody listens."""
    stages = _listener.get()
    return _SILENT if stages is None else stages.running(name)


@contextmanager
def listening(
    settle: Callable[[], None] = _nothing, clock: Callable[[], float] = time.perf_counter
) -> Iterator[Stages]:
    """Collects the stages inside the block; another listener around it hears nothing of them.

    Args:
        settle: Called before every look at the clock.
        clock: Returns seconds.
    """
    stages = Stages(settle, clock)
    token = _listener.set(stages)
    try:
        yield stages
    finally:
        _listener.reset(token)
