"""`--log-file`: everything that a command says, steps and tracebacks included, with the time.

What is logged goes there directly, shown or not. What is printed is copied line by line; a bar of
progress is none. A line begins with the local time and its distance from UTC. Like the terminal,
the file names paths.
"""

import logging
import re
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import typer

from mriimpute import __version__
from mriimpute.errors import OutputError

__all__ = ["ClickException", "LogFile", "keep_traceback", "kept_log"]

# typer vendors click and exports this class only through its children.
ClickException: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)
"""A command line that cannot be meant; typer prints it and ends with status 2."""

CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|.*\r")
"""Colours, and whatever a terminal has wiped out before a line was shown."""

UNSAFE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")
"""What commands a terminal that shows the file, as from names of files that hold it."""

BAR = re.compile("[\N{BOX DRAWINGS HEAVY HORIZONTAL}\N{BOX DRAWINGS HEAVY RIGHT}]")

STAMP = re.compile(r"\d{4}-\d\d-\d\dT")


class LogFile(logging.Handler):
    """A file that lines are added to; what cannot be written is told once, and stops nothing.

    Args:
        path: May hold earlier lines, which stay.

    Raises:
        OutputError: If something else than a log is there, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.muted = False  # what is printed now was logged
        self.lost: OSError | None = None
        try:
            if path.exists() and not _is_log(path):
                raise OutputError(
                    f"{path} exists and is no log", hint="choose another name for --log-file"
                )
            self._file: TextIO = path.open("a", encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            raise OutputError(
                f"{path} cannot be written: {error.strerror}",
                hint="name a file in a folder that is there for --log-file",
            ) from error

    def emit(self, record: logging.LogRecord) -> None:
        """Adds what was logged."""
        word = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        self.add(f"{word}{self.format(record)}")

    def add(self, text: str) -> None:
        """Adds lines."""
        stamp = datetime.now().astimezone().isoformat(timespec="milliseconds")
        try:
            lines = (UNSAFE.sub("?", line) for line in text.splitlines())
            self._file.writelines(f"{stamp} {line}\n" for line in lines)
            self._file.flush()
        except OSError as error:
            self.lost = error

    def close(self) -> None:
        """Closes the file; one warning, if a part of it is missing."""
        super().close()
        try:
            self._file.close()
        except OSError as error:
            self.lost = error
        if self.lost is not None:
            reason, self.lost = self.lost.strerror, None
            typer.echo(f"warning: {self.path} is not complete: {reason}", err=True)


class _Copied:
    """A stream whose lines are copied; all else is that of the stream itself."""

    def __init__(self, stream: Any, log: LogFile) -> None:
        self._stream, self._log = stream, log
        self._begun = ""

    def write(self, text: str) -> int:
        count = self._stream.write(text)
        if not self._log.muted:
            *lines, self._begun = (self._begun + text).split("\n")
            self._copy(lines)
        return count

    def _copy(self, lines: Sequence[str]) -> None:
        plain = [CONTROL.sub("", line) for line in lines]
        self._log.add("\n".join(line for line in plain if line and not BAR.search(line)))

    def end(self) -> None:
        """Copies a last line that was not ended."""
        self._copy([self._begun])
        self._begun = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_open: list[LogFile] = []


def keep_traceback(error: BaseException) -> None:
    """Adds the traceback of an error that is not shown to the file, if one is kept."""
    for log in _open:
        log.add("".join(traceback.format_exception(error)))


@contextmanager
def kept_log(
    path: Path | None, words: Sequence[str], message: Callable[[Exception], tuple[str, str]]
) -> Iterator[LogFile | None]:
    """Keeps what is said inside the block in a file, and how the block ended.

    Args:
        path: Of the file; None: nothing is kept.
        words: The command line.
        message: Returns what is wrong, and what to do, of an error.

    Raises:
        OutputError: If the file cannot be written.
    """
    if path is None:
        yield None
        return
    log, begun = LogFile(path), time.monotonic()
    log.add(f"mriimpute {__version__}: {shlex.join(words)}")
    streams = sys.stdout, sys.stderr
    copied = [_Copied(stream, log) for stream in streams]
    sys.stdout, sys.stderr = copied
    status = "status 0"
    _open.append(log)
    try:
        yield log
    except typer.Exit as end:
        status = f"status {end.exit_code}"
        raise
    except SystemExit as end:
        status = f"status {end.code if isinstance(end.code, int) else int(end.code is not None)}"
        raise
    except KeyboardInterrupt:
        status = "status 130: interrupted"
        raise
    except typer.Abort:
        status = "status 1: aborted"
        raise
    except ClickException as error:  # no bug, and printed after the log is closed
        status = f"status {getattr(error, 'exit_code', 2)}"
        log.add(f"error: {error.format_message()}")  # type: ignore[attr-defined]
        raise
    except Exception as error:
        status = "status 1"
        problem, hint = message(error)
        log.add(f"{traceback.format_exc()}error: {problem}\nhint: {hint}")
        raise
    finally:
        _open.remove(log)
        sys.stdout, sys.stderr = streams
        for stream in copied:
            stream.end()
        log.add(f"ended after {time.monotonic() - begun:.1f} s, {status}")
        log.close()


def _is_log(path: Path) -> bool:
    """Tells whether a file is empty or begins as logs do."""
    with path.open("rb") as file:
        first = file.read(11).decode("ascii", errors="replace")
    return not first or STAMP.match(first) is not None
