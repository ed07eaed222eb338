"""`python -m mriimpute`: the same as the command `mriimpute`."""

from mriimpute.cli import app

app()
