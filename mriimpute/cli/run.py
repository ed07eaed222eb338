"""What every command starts with: seed, device, threads, talk, progress."""

import logging
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any

from mriimpute.cli.log_file import LogFile
from mriimpute.device import choose_device
from mriimpute.distributed import ALONE, World, device_for
from mriimpute.memory import LIBRARIES, require_loadable
from mriimpute.progress import Display, silent

__all__ = ["Run", "stoppable", "talking"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """The common options of one call, resolved.

    Attributes:
        command_line: As typed, for the record.
        seed: Of every random stream.
        wanted_device: As typed; `device` is what it stands for.
        threads: CPU threads, 0 for one per core. Already in force.
        overwrite: Existing results may be replaced.
        quiet: Only warnings and errors are shown.
        track: Shows progress, as the terminal and the options allow.
        started: When the command began, by `time.monotonic`.
        world: The processes that share the command; of them only the main one speaks.
    """

    command_line: Sequence[str] = ()
    seed: int = 0
    wanted_device: str = "auto"
    threads: int = 0
    overwrite: bool = False
    quiet: bool = False
    track: Display = silent
    started: float = field(default_factory=time.monotonic)
    world: World = ALONE

    @cached_property
    def device(self) -> str:
        """The torch device, "cpu" or "cuda:N"; asking loads torch and logs the choice once.

        Raises:
            DeviceError: If the device that was asked for is not there.
            ResourceError: If there is not enough memory to load torch.
        """
        require_loadable(*LIBRARIES, "torch")
        return choose_device(device_for(self.wanted_device, self.world))

    def record(
        self,
        *,
        inputs: Sequence[Path] = (),
        settings: Mapping[str, Any] | None = None,
        device: str = "",
    ) -> dict[str, Any]:
        """Returns the provenance of this run so far, for the JSON beside a result.

        Args:
            inputs: Files whose checksum is recorded.
            settings: Whatever else decided the result.
            device: Where the result was computed; empty for a command that uses none.
        """
        from mriimpute.provenance import provenance

        return provenance(
            command=self.command_line,
            seed=self.seed,
            device=device or "none",
            seconds=time.monotonic() - self.started,
            inputs=inputs,
            settings=settings or {},
        )


class _Stderr(logging.Handler):
    """Writes to what stderr is now: a live progress bar puts its own stream there.

    Args:
        timed: Each line begins with the time of day.
        log: Has heard what is shown.
    """

    def __init__(self, *, timed: bool = False, log: LogFile | None = None) -> None:
        super().__init__()
        self.timed, self.log = timed, log

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line per record."""
        stamp = time.strftime("%H:%M:%S ", time.localtime(record.created)) if self.timed else ""
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        if self.log:
            self.log.muted = True
        sys.stderr.write(f"{stamp}{level}{self.format(record)}\n")
        if self.log:
            self.log.muted = False


class _Others(logging.Handler):
    """Hands on what libraries log; what this package logs is heard already.

    Args:
        handlers: To whom.
    """

    def __init__(self, handlers: Sequence[logging.Handler]) -> None:
        super().__init__()
        self.handlers = handlers

    def emit(self, record: logging.LogRecord) -> None:
        """Hands a record on."""
        if not record.name.startswith("mriimpute"):
            for handler in self.handlers:
                handler.emit(record)


@contextmanager
def talking(
    *, quiet: bool, verbose: int, mute: bool = False, log: LogFile | None = None
) -> Iterator[None]:
    """Sends the log of the package, and warnings of others, to stderr inside the block.

    Args:
        quiet: Only warnings and errors.
        verbose: 1: every step, with the time, and warnings of libraries; 2: what libraries tell
            about their work, too; 3: all of it.
        mute: Errors only, whatever else is asked for.
        log: Gets everything, whatever is shown.
    """
    package, warned, root = map(logging.getLogger, ("mriimpute", "py.warnings", ""))
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    level = logging.ERROR if mute else level
    before = package.level, warned.propagate, root.level
    shown = _Stderr(timed=bool(verbose), log=log)
    shown.setLevel(level)
    keepers: list[logging.Handler] = [log] if log else []
    # A warning of a library is for whoever maintains this code, not for the user.
    libraries = [shown] if verbose and not (quiet or mute) else []
    handlers: dict[logging.Logger, list[logging.Handler]] = {
        package: [*keepers, shown],
        warned: [*keepers, *libraries] or [logging.NullHandler()],
        root: [_Others([*keepers, *libraries])] if verbose > 1 else [],
    }

    package.setLevel(logging.DEBUG if log else level)
    warned.propagate = False
    if verbose > 1:
        root.setLevel(logging.INFO if verbose == 2 else logging.DEBUG)
    logging.captureWarnings(True)
    pairs = [(logger, handler) for logger, given in handlers.items() for handler in given]
    for logger, handler in pairs:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger, handler in pairs:
            logger.removeHandler(handler)
        logging.captureWarnings(False)
        package.setLevel(before[0])
        warned.propagate = before[1]
        root.setLevel(before[2])


@contextmanager
def stoppable() -> Iterator[None]:
    """Makes a stop by a scheduler or `docker stop` (SIGTERM) end like Ctrl-C inside the block."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # only the main thread may set handlers
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
