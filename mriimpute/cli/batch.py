"""Working through many scans: one that fails is told and left behind."""

import traceback
from typing import TYPE_CHECKING

import typer

from mriimpute.cli.app import message, say, tell
from mriimpute.cli.output import show_table
from mriimpute.cli.run import Run

if TYPE_CHECKING:
    from mriimpute.impute.batch import Batch
    from mriimpute.impute.jobs import Case

__all__ = ["work_through"]

LONGEST_TABLE = 100
"""Rows; of a longer one only those that need someone to look."""


def work_through(run: Run, batch: "Batch") -> None:
    """Imputes the scans of a batch, prints the path of each mean and, at the end, a table.

    Of processes that share a batch, the main one prints for all, and is the one that fails.

    Raises:
        typer.Exit: With status 1, if some scan failed.
    """
    skipped = len(batch.cases) - len(batch.left)
    if skipped and not run.quiet:
        typer.echo(f"{skipped} of {len(batch.cases)} were done before", err=True)
    for case, ended in run.track(batch.turns(), total=len(batch.left), label="scans"):
        if ended is None:
            _impute(run, batch, case)
        elif ended.status == "failed":
            say(ended.problem, ended.hint)
        else:
            typer.echo(case.file("mean"))
    if not run.world.main:
        return
    if not run.quiet:
        _summarise(run, batch)

    failed = batch.failed
    if failed:
        if len(batch.cases) > 1:
            typer.echo(
                f"failed: {len(failed)} of {len(batch.cases)}: {', '.join(failed)}", err=True
            )
        raise typer.Exit(1)


def _impute(run: Run, batch: "Batch", case: "Case") -> None:
    told = None
    try:
        mean = batch.impute(case)
        if run.world.main:
            typer.echo(mean)
    except Exception as error:  # whatever is wrong with one scan, the others are imputed
        if "--debug" in run.command_line:
            traceback.print_exception(error)
        told = tell(error) if run.world.main else message(error)
    if told:  # the error is gone, and with it the images that its traceback held
        batch.fail(case, *told)


def _summarise(run: Run, batch: "Batch") -> None:
    from mriimpute.impute.bids import NOTICE

    rows = batch.rows()
    if len(rows) > LONGEST_TABLE:
        rows = [row for row in rows if row[1] == "failed"]
    if len(batch.cases) > 1 and rows:
        show_table(("scan", "status", "seconds", "problem"), rows, left=4, err=True)
    if batch.report.count("done"):
        typer.echo(NOTICE, err=True)
