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

from mriimpute.device import choose_device
from mriimpute.distributed import ALONE, World, device_for
from mriimpute.memory import LIBRARIES, require_loadable
from mriimpute.progress import Track, silent

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
    track: Track = silent
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
    """Writes to what stderr is now: a live progress bar puts its own stream there."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line per record."""
        prefix = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        sys.stderr.write(f"{prefix}{self.format(record)}\n")


@contextmanager
def talking(*, quiet: bool, verbose: bool, mute: bool = False) -> Iterator[None]:
    """Sends the log of the package, and warnings of others, to stderr inside the block.

    Args:
        quiet: Only warnings and errors.
        verbose: Every step, and warnings of libraries.
        mute: Errors only, whatever else is asked for.
    """
    package, warned = logging.getLogger("mriimpute"), logging.getLogger("py.warnings")
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    level = logging.ERROR if mute else level
    before = package.level, warned.propagate
    handler = _Stderr()

    package.setLevel(level)
    package.addHandler(handler)
    logging.captureWarnings(True)
    warned.propagate = False
    # A warning of a library is for whoever maintains this code, not for the user.
    chosen = handler if verbose else logging.NullHandler()
    warned.addHandler(chosen)
    try:
        yield
    finally:
        warned.removeHandler(chosen)
        logging.captureWarnings(False)
        package.removeHandler(handler)
        package.level, warned.propagate = before


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
