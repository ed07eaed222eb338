"""The options that every command has."""

from typing import Annotated

import typer

from mriimpute.device import is_device

__all__ = [
    "Debug",
    "Device",
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
        help="auto takes a GPU where there is one and says so; cuda fails where there is none.",
        rich_help_panel=PANEL,
    ),
]
Threads = Annotated[
    int,
    typer.Option(
        "--threads",
        min=0,
        metavar="N",
        help="CPU threads; 0: one per core.",
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
    bool, typer.Option("--verbose", "-v", help="Tell every step.", rich_help_panel=PANEL)
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
