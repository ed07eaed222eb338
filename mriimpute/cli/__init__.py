"""The command line: one command per file; the one place where an error becomes a message.

Importing a command's file registers it; `--help` lists them in the order of this list.
"""

from mriimpute.cli import impute, inspect
from mriimpute.cli.app import app

__all__ = ["app", "impute", "inspect"]
