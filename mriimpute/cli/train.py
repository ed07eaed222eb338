"""`mriimpute train`: fit a model to a cohort of sparse scans."""

from pathlib import Path
from typing import Annotated

import typer

from mriimpute.cli.app import command, tell
from mriimpute.cli.run import Run
from mriimpute.errors import MriImputeError

__all__ = ["train"]

Cohort = Annotated[Path, typer.Argument(help="A scan, a folder or a BIDS tree of sparse scans.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Default: COHORT_MODEL beside it.")]
Model = Annotated[str | None, typer.Option(metavar="NAME", help="See above.")]
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


@command()
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
    """Fit a model to sparse scans alone. Stop with Ctrl-C; the same command goes on.

    Models:

    - cross-plane: a network learnt from lines hidden inside slices; the default. It starts from
      the weights of the package: 10 minutes on a CPU; from scratch, an hour
    - cross-plane-latent: the same network, and how its errors go together, by the evidence bound
    - cross-plane-ridge: filters learnt inside slices; seconds on a CPU
    - ppca: exact Gaussian subspace of small patches, by gradient descent
    - ppca-em: the same by expectation maximisation
    - mixture-ppca: a mixture of such subspaces, by expectation maximisation
    - conv-sparse: variational auto-encoder with sparse convolutions
    - conv-fc-sparse: the same with a sparse fully connected layer
    - local-sparse: the same with locally connected sparse layers
    - conv-zero: ordinary convolutions, gaps filled with zeros
    - conv-mean: ordinary convolutions, gaps filled with the cohort mean
    - conv-interp: ordinary convolutions, gaps interpolated
    - conv-interp-wmask: the same with the observed map as a second input
    - mvae: missing-value VAE
    - miwae: importance weighted
    - tae: tomographic auto-encoder

    Several GPUs share a run: torchrun --nproc-per-node 8 -m mriimpute train cohort/

    Example: mriimpute train cohort/ --model ppca --set train.patches=20000
    """
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
