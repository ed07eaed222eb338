"""When to stop before the end: a time limit, or Ctrl-C at a moment that loses nothing."""

import signal
import time
from types import FrameType, TracebackType

__all__ = ["Stop"]


class Stop:
    """Turns the first Ctrl-C or SIGTERM inside its block into a wish; the second one is a stop.

    A Ctrl-C that is ignored where the process was started, as by what a script puts into the
    background, stays ignored.

    Args:
        max_minutes: Time limit, counted from now; None for none.
        launched: By `torchrun`, which passes on a Ctrl-C that the terminal has sent already: the
            second one is the same wish. Whom it is not granted for long, `torchrun` ends.
    """

    def __init__(self, max_minutes: float | None, *, launched: bool = False) -> None:
        self.interrupted = False
        self._launched = launched
        self._deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        self._before: dict[int, object] = {}

    @property
    def wanted(self) -> bool:
        """Tells whether to stop at the next good moment."""
        late = self._deadline is not None and time.monotonic() >= self._deadline
        return self.interrupted or late

    @property
    def seconds(self) -> float | None:
        """Seconds until the time limit; None without one."""
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)

    def __enter__(self) -> "Stop":
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is signal.SIG_IGN:
                continue
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:  # only the main thread may set handlers
                break
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted and not self._launched:
            raise KeyboardInterrupt
        self.interrupted = True
