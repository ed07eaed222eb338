"""Working through many scans: one that fails is reported and left behind."""

import os
import time
from typing import TYPE_CHECKING

import typer

from mriimpute.cli.app import message, say, tell, trace
from mriimpute.cli.output import show_table
from mriimpute.cli.progress import duration
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
        with run.track.inside(job.scan.name) as progress:
            outcome = batch.impute(job, progress)
        if run.world.main:
            _show(run, job, outcome)
    except Exception as error:  # whatever is wrong with one scan, the others are imputed
        trace(run, error)
        failure = tell(error) if run.world.main else message(error)
    if failure:  # the error is gone, and with it the images that its traceback held
        batch.fail(job, *failure)


def _show(run: Run, job: "Job", outcome: "Outcome") -> None:
    """Prints the path of the mean and, to stderr, the verdict on it."""
    typer.echo(job.file("mean"))
    if outcome.verdict and (not run.quiet or outcome.verdict == "fail"):
        typer.echo(f"{outcome.verdict}: {job.name}: {'; '.join(outcome.reasons)}", err=True)


def _summarise(run: Run, batch: "Batch") -> None:
    """Says what became of all scans, what was written, and what it took."""
    from mriimpute.imputation.bids import NOTICE

    rows = batch.rows()
    if cut := len(rows) > MAX_TABLE_ROWS:
        rows = [row for row in rows if row[1] == "failed"]
    if len(batch.jobs) > 1 and rows:
        show_table(("scan", "status", "seconds", "size", "problem"), rows, left=5, err=True)
    if cut:
        file = batch.report.file
        where = f"{file}" if file else "what --report JSON keeps"
        typer.echo(f"the list of all {len(batch.jobs)} scans: {where}", err=True)
    if not batch.done:
        return
    if len(batch.jobs) == 1:
        _show_files(batch.jobs[0])
    _show_total(run, batch)
    typer.echo(NOTICE, err=True)


def _show_files(job: "Job") -> None:
    """Names every file of a scan, draws in one line."""
    from mriimpute.imputation.disk import written
    from mriimpute.memory import format_bytes

    rows = [(each.name, str(each.files), format_bytes(each.size)) for each in written(job)]
    show_table((f"in {job.folder}", "files", "size"), rows, err=True)


def _show_total(run: Run, batch: "Batch") -> None:
    """Says how much was written, where, in which time and with how much memory."""
    from mriimpute.imputation.disk import written
    from mriimpute.memory import format_bytes

    folders = {job.folder for job in batch.done}
    beside = batch.beside()
    found = [each for job in batch.done for each in written(job)]
    size = sum(each.size for each in found) + sum(path.stat().st_size for path in beside)
    files = sum(each.files for each in found) + len(beside)
    root = os.path.commonpath([folder.absolute() for folder in folders])
    where = f"{len(folders)} folders of {root}" if len(folders) > 1 else root
    told = [f"{files} files, {format_bytes(size)}, in {where}"]
    told += [f"beside them {', '.join(map(str, beside))}"] if beside else []
    took = f"took {duration(time.monotonic() - run.started)}"
    if peak := max((end.peak_memory_mb or 0 for end in batch.report.outcomes.values()), default=0):
        took += f", at most {format_bytes(round(peak * 2**20))} of memory"
    typer.echo("\n".join([*told, took]), err=True)
