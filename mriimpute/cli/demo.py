"""`mriimpute demo`: the whole path on made-up brains."""

import shlex
import time
from collections.abc import Callable
from dataclasses import replace
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

    The same command goes on after a stop.

    Example: mriimpute demo
    """
    from mriimpute.demo import STAGES, DemoConfig, DemoFolder, make_cohort

    folder = DemoFolder(out, {"seed": run.seed, "subjects": subjects}, overwrite=run.overwrite)
    full, sim, model, imputed, report = (out / name for name in STAGES.values())
    config = DemoConfig(subjects=subjects)
    steps: dict[str, Callable[[Run], object]] = {
        "make": lambda run: make_cohort(full, config, seed=run.seed, track=run.track),
        "simulate": lambda run: _simulate(run, full, sim),
        "train": lambda run: _train(run, sim / "cohort", model),
        "impute": lambda run: _impute(run, sim / "cohort", imputed),
        "evaluate": lambda run: _evaluate(run, sim, model, report),
    }
    for stage in folder.left():
        steps[stage](replace(run, started=time.monotonic()))  # each says how long it took
        folder.finish(stage)
    typer.echo(f"\nlook at {report / 'index.html'}", err=True)


def _simulate(run: Run, full: Path, sim: Path) -> None:
    from mriimpute.workers import available_cores  # loads multiprocessing

    jobs = available_cores()
    _say("simulate", full, "-o", sim, "--keep-every", 3, "--spacing", "source", "--jobs", jobs)
    simulate(run, full, sim, keep_every=3, spacing="source", jobs=jobs)


def _train(run: Run, cohort: Path, model: Path) -> None:
    # The default model takes ten minutes.
    _say("train", cohort, "--model", "cross-plane-ridge", "-o", model)
    train(run, cohort, model, model="cross-plane-ridge")


def _impute(run: Run, cohort: Path, out: Path) -> None:
    # With the weights of the package, as a user would; `evaluate` compares both.
    from mriimpute.io import find_scans

    scan = find_scans(cohort)[0]
    _say("impute", scan, "--samples", 3, "-o", out)
    impute(run, [scan], out, samples=3)


def _evaluate(run: Run, sim: Path, model: Path, report: Path) -> None:
    _say("evaluate", sim, "--model", model, "-o", report)
    evaluate(run, [sim], report, model=[model])


def _say(*words: object) -> None:
    """Prints the command that does by hand what the demo does next."""
    typer.echo(f"\n$ mriimpute {shlex.join(map(str, words))}", err=True)
