"""`mriimpute impute`: fill the slices that a scan skipped."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mriimpute.cli.app import command, tell
from mriimpute.cli.run import Run
from mriimpute.device import TILE
from mriimpute.errors import MriImputeError

__all__ = ["impute"]


@command()
def impute(
    run: Run,
    scans: Annotated[
        list[Path],
        typer.Argument(metavar="SCAN...", help="Files, folders of scans, BIDS trees."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for results. Default: SCAN_imputed beside SCAN."),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="A run folder of `train`, cross-plane (weights come with the package), or a "
            "method without weights: cross-plane-ridge, linear, pchip, cubic."
        ),
    ] = "cross-plane",
    samples: Annotated[int, typer.Option(min=0, max=999, help="Posterior draws to write.")] = 0,
    spacing: Annotated[
        float | None,
        typer.Option(metavar="MM", help="Between output slices. Default: as inside a slice."),
    ] = None,
    observed: Annotated[
        Path | None,
        typer.Option(
            metavar="IMAGE",
            help="1 where acquired. Default: SCAN_desc-observed beside it, else geometry and NaN.",
        ),
    ] = None,
    keep_observed: Annotated[
        bool, typer.Option(help="Acquired voxels come back bit for bit.")
    ] = True,
    thickness: Annotated[
        float,
        typer.Option(
            min=0, metavar="MM", help="Slice profile (FWHM), for cross-plane; 0: point samples."
        ),
    ] = 0.0,
    adapt: Annotated[
        bool,
        typer.Option("--adapt", help="Learn from the scan's own slices first; slower."),
    ] = False,
    space: Annotated[
        Literal["native", "template"],
        typer.Option(help="template: the common 1 mm grid, by an affine; voxels are resampled."),
    ] = "native",
    split: Annotated[
        Literal["train", "val", "test"] | None,
        typer.Option(help="Only these subjects of a cohort's participants.tsv."),
    ] = None,
    tile: Annotated[
        int,
        typer.Option(min=16, metavar="VOXELS", help="Edge worked on at once; bounds memory only."),
    ] = TILE,
) -> None:
    """Fill the slices that a scan skipped: conditional mean, uncertainty, posterior draws.

    Example: mriimpute impute scan.nii.gz --samples 20
    """
    from mriimpute.impute import METHODS, identity, load_imputer
    from mriimpute.impute.case import Request, impute_case, is_done, plan, require_draws

    cases = plan(scans, out, split=split, space=space)
    request = Request(
        model=identity(model),
        samples=samples,
        seed=run.seed,
        spacing_mm=spacing,
        observed=observed,
        tile=tile,
        keep_observed=keep_observed,
        thickness_mm=thickness,
        adapt=adapt,
    )
    # Only networks compute on a device, and asking for it loads torch.
    device = "cpu" if model in METHODS and run.wanted_device == "auto" else run.device
    imputer = load_imputer(model, device=device, adapt=adapt)
    require_draws(imputer, request)
    left = [case for case in cases if run.overwrite or not is_done(case, request)]
    if left and len(left) < len(cases):
        typer.echo(f"{len(cases) - len(left)} of {len(cases)} were done before", err=True)
        cases = left
    failed = []
    for case in run.track(cases, total=len(cases), label="scans"):
        try:
            mean = impute_case(
                case,
                imputer,
                request,
                record=lambda facts: run.record(settings=facts, device=imputer.device),
                overwrite=run.overwrite,
            )
        except MriImputeError as error:
            tell(error)
            failed.append(case.scan.name)
        else:
            typer.echo(mean)
    if failed:
        if len(cases) > 1:
            typer.echo(f"failed: {len(failed)} of {len(cases)}: {', '.join(failed)}", err=True)
        raise typer.Exit(1)
