"""`mriimpute evaluate`: methods side by side, against truth or hidden parts of real scans."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mriimpute.cli import complete
from mriimpute.cli.app import command, tell, trace
from mriimpute.cli.output import show_table, show_text
from mriimpute.cli.run import Run
from mriimpute.errors import MriImputeError

__all__ = ["evaluate"]

METHODS, SCORING = "What is compared", "How it is scored"  # panels of the help


def _define(wanted: bool) -> bool:
    if wanted:
        from mriimpute.evaluation.definitions import definitions_text

        typer.echo(definitions_text())
        raise typer.Exit
    return wanted  # what a callback returns is what the command gets


@command()
def evaluate(
    run: Run,
    source: Annotated[
        list[Path],
        typer.Argument(
            metavar="SIM", help="What `simulate` wrote; with --without-truth sparse scans, any."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Report folder. Default: SIM_report beside SIM."),
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN", rich_help_panel=METHODS, help="Run folder of `train`; may be repeated."
        ),
    ] = None,
    methods: Annotated[
        str,
        typer.Option(
            metavar="A,B,C",
            autocompletion=complete.methods,
            rich_help_panel=METHODS,
            help="Names that `impute --model` or `train --model` knows. Those that need fitting "
            "are fitted on the train split, in the report folder; cross-plane-ridge@scan learns "
            "from each scan alone, cross-plane@package has learnt before, cross-plane@adapt goes "
            "on learning from each scan.",
        ),
    ] = "linear,pchip,cubic,cross-plane@package",
    external: Annotated[
        list[str] | None,
        typer.Option(
            metavar='NAME="CMD {in} {out}"',
            rich_help_panel=METHODS,
            help="Another program: gets the sparse scan as {in}, a thick-gap NIfTI, and writes "
            "the filled one to {out}; may be repeated.",
        ),
    ] = None,
    external_minutes: Annotated[
        float,
        typer.Option(
            min=0.01,
            metavar="MINUTES",
            rich_help_panel=METHODS,
            help="Time limit of another program for one scan.",
        ),
    ] = 60.0,
    split: Annotated[
        Literal["train", "val", "test", "all"] | None,
        typer.Option(
            rich_help_panel=SCORING,
            help="Whom to score, as participants.tsv says; by default test, and without such a "
            "table all. Others than test: only for scans no model has learnt from.",
        ),
    ] = None,
    samples: Annotated[
        int,
        typer.Option(
            min=2,
            max=999,
            metavar="K",
            rich_help_panel=SCORING,
            help="Draws to score per scan.",
        ),
    ] = 20,
    protocol: Annotated[
        Literal["simulated", "paper", "thick", "brats-inpaint"],
        typer.Option(
            rich_help_panel=SCORING,
            help="How predictions are scored. simulated: paper for point samples, thick for "
            "slices simulated with --thickness. brats-inpaint: as in that challenge.",
        ),
    ] = "simulated",
    without_truth: Annotated[
        bool,
        typer.Option(
            "--without-truth",
            rich_help_panel=SCORING,
            help="Hide acquired slices, then lines inside of them, and score on what is hidden.",
        ),
    ] = False,
    jobs: Annotated[
        int, typer.Option(min=1, metavar="N", help="Scans scored side by side; changes no score.")
    ] = 1,
    definitions: Annotated[
        bool,
        typer.Option(
            "--definitions",
            callback=_define,
            is_eager=True,
            rich_help_panel=SCORING,
            help="Print what every number means, and exit.",
        ),
    ] = False,
) -> None:
    """Score imputed scans against truth, or real sparse scans without any: tables and a page.

    The same command goes on after a stop.

    Example: mriimpute evaluate sim --model run

    Without truth: mriimpute evaluate clinical/ --without-truth --jobs 4
    """
    if len(source) > 1 and not without_truth:
        raise typer.BadParameter("one SIM at a time; --without-truth takes several sources")
    if without_truth and protocol != "simulated":
        raise typer.BadParameter(f"--protocol {protocol} needs truth")
    from mriimpute import api
    from mriimpute.evaluation.failures import pairs
    from mriimpute.methods.external import parse_external
    from mriimpute.report import advice_of, table_of

    failed: dict[str, None] = {}  # two methods may be fitted on a scan: it is named once
    reported: set[str] = set()

    def leave_out(name: str, error: MriImputeError) -> None:
        if str(error) not in reported:
            trace(run, error)
            tell(error)
        reported.add(str(error))
        failed[name] = None

    summaries = api.evaluate(
        source if without_truth else source[0],
        out,
        methods=[name.strip() for name in methods.split(",") if name.strip()],
        models=model or [],
        externals=[parse_external(text, minutes=external_minutes) for text in external or []],
        without_truth=without_truth,
        protocol=protocol,
        split=split,
        samples=samples,
        seed=run.seed,
        device=run.device,
        jobs=jobs,
        overwrite=run.overwrite,
        track=run.track,
        on_failure=leave_out,
    )
    for summary in summaries:
        table = table_of(summary)
        show_table(table.headers, table.rows, title=table.title)
        if advice := advice_of(summary):
            show_text(advice)
        if summary.protocol.bias:
            show_text(f"To know before believing this: {summary.protocol.bias}\n")
    failures = [name for summary in summaries for name in pairs(summary.failed)]
    unread = [name for name in failed if name not in failures]
    if unread:
        typer.echo(f"left out: {len(unread)}: {', '.join(unread)}", err=True)
    if failures:
        again = "the same command tries only what is missing"
        typer.echo(f"failed: {len(failures)}: {', '.join(failures)}; {again}", err=True)
    if failed:
        raise typer.Exit(1)
