"""`mriimpute reproduce`: the experiments of the papers, beside what they report."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mriimpute.cli.app import command
from mriimpute.cli.output import show_table
from mriimpute.cli.run import Run
from mriimpute.reproduce import titles

__all__ = ["reproduce"]

Name = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="See above.")]
Root = Annotated[Path, typer.Option(metavar="DIR", help="Where idx.gz and npz files lie.")]
Scans = Annotated[Path | None, typer.Option(metavar="DIR", help="Full scans, where needed.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Default: EXPERIMENT_BUDGET.")]
Size = Annotated[Literal["smoke", "cpu", "paper"], typer.Option(help="Seconds; minutes; a GPU.")]
Jobs = Annotated[int, typer.Option(min=1, help="Processes, with one thread each.")]


def reproduce(
    run: Run,
    experiment: Name,
    data: Root,
    scans: Scans = None,
    out: Out = None,
    budget: Size = "cpu",
    jobs: Jobs = 1,
) -> None:
    """Repeats an experiment and shows its tables, and which claims of the paper hold."""
    from mriimpute.report import write_panels
    from mriimpute.reproduce._data import Data
    from mriimpute.reproduce._run import reproduce as perform
    from mriimpute.reproduce._tables import text

    folder = out or Path(f"{experiment}_{budget}")
    options: Any = {"seed": run.seed, "device": run.device, "overwrite": run.overwrite}
    options |= {"track": run.track, "command": run.command_line}
    found = perform(experiment, Data(data, scans), folder, budget=budget, jobs=jobs, **options)
    write_panels(folder / "figure.png", found.title, found.conclusion)
    for table in found.conclusion.tables:
        rows = [[text(cell) for cell in row] for row in table.rows]
        show_table(table.columns, rows, title=table.title)
        typer.echo()
    for claim in found.conclusion.claims:
        typer.echo(f"{'yes' if claim.holds else 'NO'}: {claim.text} ({claim.detail})")
    typer.echo(str(folder))


LIST = "\n".join(f"- {name}: {title}" for name, title in titles().items())
reproduce.__doc__ = f"""Repeat an experiment of the papers; the same command goes on after a stop.

{LIST}

Example: mriimpute reproduce fig4 --data data/ --budget smoke
"""
command()(reproduce)
