"""Standard streams that may be closed, or whose reader goes away: the work goes on all the same.

What a command has made does not depend on who listens. A stream that was closed by the caller
(`2>&-`) is one that nobody reads. Its number is taken, too: else the next file that is opened
would get it, and whatever a library writes to that stream with it.
"""

import io
import os
import sys
from contextlib import suppress

from mriimpute.errors import OutputError

__all__ = ["lost_output", "steady_streams"]


class _Outlet(io.FileIO):
    """A stream that takes everything; what becomes of it is remembered.

    Attributes:
        lost: Why something could not be written, other than that its reader went away.
    """

    lost: OSError | None = None

    def write(self, text: object, /) -> int:
        """Writes, and says that all was written."""
        data = memoryview(text).cast("B")  # type: ignore[arg-type]
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            return len(data)
        except OSError as error:
            self.lost = error
            return len(data)


_outlets: dict[str, _Outlet] = {}


def steady_streams() -> None:
    """Makes standard output and standard error streams that no write to fails."""
    _take_closed_numbers()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, _steady(name, stream))


def lost_output() -> OutputError | None:
    """Returns that a part of the output is lost, as on a full disk; None if nothing is."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    for name, outlet in _outlets.items():
        if outlet.lost is not None:
            return OutputError(
                f"{name} cannot be written: {outlet.lost.strerror}",
                hint="free some space, or send it elsewhere; files were written all the same",
            )
    return None


def _steady(name: str, stream: io.TextIOWrapper) -> io.TextIOWrapper:
    stream.flush()
    outlet = _outlets[name] = _Outlet(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(outlet),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _take_closed_numbers() -> None:
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
