"""`mriimpute reproduce`: the experiments of the papers, beside what they report."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mriimpute.cli import complete
from mriimpute.cli.app import command
from mriimpute.cli.output import show_table
from mriimpute.cli.run import Run
from mriimpute.papers import listing

__all__ = ["reproduce"]

Name = Annotated[
    str,
    typer.Argument(metavar="EXPERIMENT", autocompletion=complete.experiments, help="See above."),
]
Root = Annotated[Path | None, typer.Option(metavar="DIR", help="Below it lie the data files.")]
Scans = Annotated[Path | None, typer.Option(metavar="DIR", help="Full scans, or a simulation.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Default: EXPERIMENT_BUDGET.")]
Size = Annotated[Literal["smoke", "cpu", "paper"], typer.Option(help="Seconds; minutes; a GPU.")]
Jobs = Annotated[int, typer.Option(min=1, help="Processes, with one thread each.")]


def reproduce(
    run: Run,
    experiment: Name,
    data: Root = None,
    scans: Scans = None,
    out: Out = None,
    budget: Size = "cpu",
    jobs: Jobs = 1,
) -> None:
    """Repeats an experiment and shows its tables, and which claims of the paper hold."""
    from mriimpute.papers.data import Data
    from mriimpute.papers.run import reproduce as perform
    from mriimpute.papers.tables import text
    from mriimpute.report import write_panels

    folder = out or Path(f"{experiment}_{budget}")
    options: Any = {"seed": run.seed, "device": run.device, "overwrite": run.overwrite}
    options |= {"track": run.track, "command": run.command_line}
    reproduction = perform(
        experiment, Data(data, scans), folder, budget=budget, jobs=jobs, **options
    )
    write_panels(folder / "figure.png", reproduction.title, reproduction.conclusion)
    typer.echo(f"{reproduction.title}\n{reproduction.source}\n")
    for table in reproduction.conclusion.tables:
        rows = [[text(cell) for cell in row] for row in table.rows]
        show_table(table.columns, rows, title=table.title)
        typer.echo()
    for claim in reproduction.conclusion.claims:
        typer.echo(f"{'yes' if claim.holds else 'NO'}: {claim.text} ({claim.detail})")
    typer.echo(str(folder))


LIST = "\n".join(
    f"- **{name}**: {entry.title}. *{entry.source}.* Reads {', '.join(entry.data)}"
    for name, entry in listing().items()
)
FILES = """- mnist, fashion: {train,t10k}-{images-idx3,labels-idx1}-ubyte.gz, as published; the
  four of each lie in one folder, those of Fashion-MNIST below one with "fashion" in its name
- activity: `*inertial*.npz`, windows of UCI HAR: halves (m, 9, 64), index (n, 2), is_test (n)
- depth: `*.npz` with depth (n, h, w) in mm (integers) or metres, 0 where a hole is
- scans: --scans, full scans of five subjects or more; a label map or mask beside a scan,
  `*_dseg` or `*_mask`, says where its brain is; one with "brain" in its name comes first
- simulation: --scans, what `mriimpute simulate` wrote. No other command than `supervised` opens
  the truth of its train subjects, and no model that learnt from it is used by any other"""
reproduce.__doc__ = f"""Repeat an experiment of the papers; the same command goes on after a stop.

{LIST}

Data, anywhere below --data; nothing is downloaded:

{FILES}

Example: mriimpute reproduce fig4 --data data/ --budget smoke
"""
command()(reproduce)
