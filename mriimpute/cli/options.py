"""The options that every command has."""

from pathlib import Path
from typing import Annotated

import typer

from mriimpute.cli.complete import devices
from mriimpute.device import is_device

__all__ = [
    "Debug",
    "Device",
    "Log",
    "NoProgress",
    "Overwrite",
    "Quiet",
    "Seed",
    "Threads",
    "Verbose",
]

PANEL = "Options of every command"


def _device(value: str) -> str:
    if not is_device(value):
        raise typer.BadParameter(f"{value!r} is none of auto, cpu, cuda, cuda:N")
    return value


Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        min=0,
        metavar="N",
        help="Same seed, same input: same result.",
        rich_help_panel=PANEL,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cuda|cuda:N|cpu",
        callback=_device,
        autocompletion=devices,
        help="auto takes a GPU where there is one and says so; cuda fails where there is none.",
        rich_help_panel=PANEL,
    ),
]
Threads = Annotated[
    int,
    typer.Option(
        "--threads",
        "--nthreads",
        min=0,
        metavar="N",
        help="CPU threads; 0: as OMP_NUM_THREADS says, else one per core that affinity and "
        "control group grant.",
        rich_help_panel=PANEL,
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace existing results.", rich_help_panel=PANEL)
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Only warnings and errors.", rich_help_panel=PANEL),
]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        metavar="",
        show_default=False,
        help="Tell every step, with the time; -vv: and what libraries tell; -vvv: all of it.",
        rich_help_panel=PANEL,
    ),
]
Log = Annotated[
    Path | None,
    typer.Option(
        "--log-file",
        metavar="FILE",
        help="Add everything to it, every step and traceback with the time, whatever -q and -v "
        "say. It names paths.",
        rich_help_panel=PANEL,
    ),
]
Debug = Annotated[
    bool,
    typer.Option(
        "--debug", help="Show the traceback of a failure; implies -v.", rich_help_panel=PANEL
    ),
]
NoProgress = Annotated[
    bool, typer.Option("--no-progress", help="No progress bar or lines.", rich_help_panel=PANEL)
]
