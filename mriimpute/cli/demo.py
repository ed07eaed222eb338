"""`mriimpute demo`: the whole path on made-up brains."""

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from mriimpute.cli.app import command
from mriimpute.cli.evaluate import evaluate
from mriimpute.cli.impute import impute
from mriimpute.cli.run import Run
from mriimpute.cli.simulate import simulate
from mriimpute.cli.train import train

__all__ = ["demo"]


@command()
def demo(
    run: Run,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for everything it makes.")
    ] = Path("mriimpute-demo"),
    subjects: Annotated[int, typer.Option(min=5, help="Made-up brains.")] = 25,
) -> None:
    """Run the whole path on made-up brains: simulate, train, impute, evaluate. No input needed.

    Example: mriimpute demo
    """
    from mriimpute.demo import DemoConfig, make_cohort
    from mriimpute.files import refuse_existing
    from mriimpute.io import find_scans

    refuse_existing(out, overwrite=run.overwrite)
    full, sim, model, report = (out / name for name in ("full", "sim", "run", "report"))
    make_cohort(full, DemoConfig(subjects=subjects), seed=run.seed, track=run.track)

    jobs = os.cpu_count() or 1
    _say("simulate", full, "-o", sim, "--keep-every", 3, "--spacing", "source", "--jobs", jobs)
    simulate(run, full, sim, keep_every=3, spacing="source", jobs=jobs)
    _say("train", sim / "cohort", "-o", model)
    train(run, sim / "cohort", model)
    scan = find_scans(sim / "cohort")[0]
    _say("impute", scan, "--model", model, "--samples", 3, "-o", out / "imputed")
    impute(run, [scan], out / "imputed", model=str(model), samples=3)
    _say("evaluate", sim, "--model", model, "-o", report)
    evaluate(run, sim, report, model=[model])
    typer.echo(f"\nlook at {report / 'figure.png'}", err=True)


def _say(*words: object) -> None:
    """Prints the command that does by hand what the demo does next."""
    typer.echo(f"\n$ mriimpute {shlex.join(map(str, words))}", err=True)
