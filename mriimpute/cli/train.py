"""`mriimpute train`: fit a model to a cohort of sparse scans."""

from pathlib import Path
from typing import Annotated

import typer

from mriimpute.cli import complete
from mriimpute.cli.app import command, tell
from mriimpute.cli.run import Run
from mriimpute.errors import MriImputeError
from mriimpute.methods.registry import descriptions

__all__ = ["train"]

Cohort = Annotated[
    Path, typer.Argument(metavar="COHORT", help="A scan, a folder or a BIDS tree of sparse scans.")
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Default: COHORT_MODEL beside it.")]
Model = Annotated[
    str | None,
    typer.Option(metavar="NAME", autocompletion=complete.trained_models, help="See above."),
]
File = Annotated[Path | None, typer.Option(metavar="FILE", help="TOML laid over the preset.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Laid over it.")]
Minutes = Annotated[float | None, typer.Option(min=0, help="Stop after so long.")]
FromScratch = Annotated[bool, typer.Option("--from-scratch", help="Not from shipped weights.")]
Cache = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Keep preprocessed scans there, for other runs.")
]
Jobs = Annotated[
    int, typer.Option(min=1, metavar="N", help="Scans read side by side; changes no byte.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show all settings and exit.")]


def train(
    run: Run,
    cohort: Cohort,
    out: Out = None,
    model: Model = None,
    config: File = None,
    assign: Set = None,
    from_scratch: FromScratch = False,
    max_minutes: Minutes = None,
    cache: Cache = None,
    jobs: Jobs = 1,
    dry_run: DryRun = False,
) -> None:
    """See `__doc__` below: the models in it come from the registry."""
    from mriimpute import api
    from mriimpute.config import dump
    from mriimpute.distributed import joined
    from mriimpute.training import resolve

    settings = api.settings_of(
        model, config=config, settings=assign or [], from_scratch=from_scratch
    )
    if from_scratch and settings.get("train", {}).get("start", "scratch") != "scratch":
        raise typer.BadParameter(
            "train.start is 'package' in --config or --set", param_hint="--from-scratch"
        )
    if dry_run:
        typer.echo(dump(resolve(settings, seed=run.seed)), nl=False)
        return
    failed = []

    def leave_out(scan: Path, error: MriImputeError) -> None:
        tell(error)
        failed.append(scan.name)

    with joined(run.world, device=run.device) as world:
        folder = api.train(
            cohort,
            out,
            settings=settings,
            seed=run.seed,
            device=run.device,
            max_minutes=max_minutes,
            cache=cache,
            jobs=jobs,
            overwrite=run.overwrite,
            track=run.track,
            on_failure=leave_out,
            world=world,
        )
    if not world.main:
        return
    typer.echo(f"next: mriimpute impute SCAN --model {folder}", err=True)
    typer.echo(str(folder))
    if failed:
        typer.echo(f"left out: {len(failed)} scans: {', '.join(failed)}", err=True)
        raise typer.Exit(1)


MODELS = "\n    ".join(f"- {name}: {about}" for name, about in descriptions().items())

train.__doc__ = f"""Fit a model to sparse scans alone. Stop with Ctrl-C; the same command goes on.

    Models:

    {MODELS}

    Several GPUs share a run: torchrun --nproc-per-node 8 -m mriimpute train cohort/

    Example: mriimpute train cohort/ --model ppca --set train.patches=20000
    """

command()(train)
