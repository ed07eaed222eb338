"""The command line: one command per file; the one place where an error becomes a message.

Importing a command's file registers it; `app.ORDER` says in which order `--help` lists them.
"""

from mriimpute.cli import (
    bench,
    demo,
    doctor,
    evaluate,
    impute,
    inspect,
    reproduce,
    simulate,
    train,
)
from mriimpute.cli.app import app

__all__ = [
    "app",
    "bench",
    "demo",
    "doctor",
    "evaluate",
    "impute",
    "inspect",
    "reproduce",
    "simulate",
    "train",
]
