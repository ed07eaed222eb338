"""Working through many scans: one that fails is reported and left behind."""

import traceback
from typing import TYPE_CHECKING

import typer

from mriimpute.cli.app import message, say, tell
from mriimpute.cli.output import show_table
from mriimpute.cli.run import Run

if TYPE_CHECKING:
    from mriimpute.imputation.batch import Batch
    from mriimpute.imputation.jobs import Job
    from mriimpute.imputation.report import Outcome

__all__ = ["work_through"]

MAX_TABLE_ROWS = 100
"""Of a longer table only the failures are shown."""


def work_through(run: Run, batch: "Batch") -> None:
    """Imputes the scans of a batch, prints path and verdict of each and, at the end, a table.

    Of processes that share a batch, the main one prints for all, and is the one that fails.

    Raises:
        typer.Exit: With status 1, if some scan failed.
    """
    if not run.quiet:
        _show_skipped(batch)
    for job, ended in run.track(batch.turns(), total=len(batch.left), label="scans"):
        if ended is None:
            _impute(run, batch, job)
        elif ended.status == "failed":
            say(ended.problem, ended.hint)
        else:
            _show(run, job, ended)
    if not run.world.main:
        return
    batch.conclude()
    if not run.quiet:
        _summarise(run, batch)

    failed = batch.failed
    if failed:
        if len(batch.jobs) > 1:
            typer.echo(
                f"failed: {len(failed)} of {len(batch.jobs)}: {', '.join(failed)}", err=True
            )
        raise typer.Exit(1)


def _show_skipped(batch: "Batch") -> None:
    skipped = len(batch.jobs) - len(batch.left)
    if skipped and len(batch.jobs) == 1:
        typer.echo(f"{batch.jobs[0].file('mean')} was made before, as it is asked for", err=True)
    elif skipped:
        typer.echo(f"{skipped} of {len(batch.jobs)} were done before", err=True)


def _impute(run: Run, batch: "Batch", job: "Job") -> None:
    failure = None
    try:
        outcome = batch.impute(job)
        if run.world.main:
            _show(run, job, outcome)
    except Exception as error:  # whatever is wrong with one scan, the others are imputed
        if "--debug" in run.command_line:
            traceback.print_exception(error)
        failure = tell(error) if run.world.main else message(error)
    if failure:  # the error is gone, and with it the images that its traceback held
        batch.fail(job, *failure)


def _show(run: Run, job: "Job", outcome: "Outcome") -> None:
    """Prints the path of the mean and, to stderr, the verdict on it."""
    typer.echo(job.file("mean"))
    if outcome.verdict and (not run.quiet or outcome.verdict == "fail"):
        typer.echo(f"{outcome.verdict}: {job.name}: {'; '.join(outcome.reasons)}", err=True)


def _summarise(run: Run, batch: "Batch") -> None:
    from mriimpute.imputation.bids import NOTICE

    rows = batch.rows()
    if len(rows) > MAX_TABLE_ROWS:
        rows = [row for row in rows if row[1] == "failed"]
    if len(batch.jobs) > 1 and rows:
        show_table(("scan", "status", "seconds", "problem"), rows, left=4, err=True)
    if batch.report.count("done"):
        typer.echo(NOTICE, err=True)
