"""`mriimpute evaluate`: imputed against truth, methods side by side."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mriimpute.cli.app import command, tell
from mriimpute.cli.output import show_table
from mriimpute.cli.run import Run
from mriimpute.errors import MriImputeError

__all__ = ["evaluate"]


@command()
def evaluate(
    run: Run,
    sim: Annotated[Path, typer.Argument(metavar="SIM", help="What `simulate` wrote.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Report folder. Default: SIM_report beside SIM."),
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="Run folder of `train`; may be repeated."),
    ] = None,
    methods: Annotated[
        str,
        typer.Option(
            metavar="A,B,C",
            help="Those that need fitting are fitted on the train split, in the report folder; "
            "cross-plane-ridge@scan learns from each scan alone, cross-plane@package has learnt "
            "before, cross-plane@adapt goes on learning from each scan.",
        ),
    ] = "linear,pchip,cubic,cross-plane@package",
    split: Annotated[
        Literal["train", "val", "test", "all"],
        typer.Option(
            help="Whom to score. Others than test: only for scans no model has learnt from."
        ),
    ] = "test",
    samples: Annotated[int, typer.Option(min=2, max=999, help="Draws to score per scan.")] = 20,
) -> None:
    """Score imputed scans against truth: table, CSV, JSON and a figure.

    The same command goes on after a stop. Example: mriimpute evaluate sim --model run
    """
    from mriimpute import evaluate as library
    from mriimpute.files import located
    from mriimpute.report import table_of, write_comparison, write_figure

    source = located(sim)
    report = out or source.with_name(f"{source.name}_report")
    failed: dict[str, None] = {}  # two methods may be fitted on a scan: it is named once

    def leave_out(name: str, error: MriImputeError) -> None:
        if name not in failed:
            tell(error)
        failed[name] = None

    summary = library.evaluate(
        sim,
        report,
        methods=[name.strip() for name in methods.split(",") if name.strip()],
        models=model or [],
        split=split,
        samples=samples,
        seed=run.seed,
        device=run.device,
        track=run.track,
        overwrite=run.overwrite,
        on_failure=leave_out,
    )
    write_figure(report / "figure.png", summary)
    write_comparison(report / "methods.png", summary)
    table = table_of(summary)
    show_table(table.headers, table.rows, title=table.title)
    if failed:
        typer.echo(f"left out: {len(failed)}: {', '.join(failed)}", err=True)
        raise typer.Exit(1)
