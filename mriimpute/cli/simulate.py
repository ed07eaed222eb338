"""`mriimpute simulate`: make sparse scans of fully observed ones."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mriimpute.cli.app import command, tell
from mriimpute.cli.output import show_table
from mriimpute.cli.run import Run
from mriimpute.errors import ConfigError, MriImputeError

__all__ = ["simulate"]


def _spacing(value: str) -> str:
    try:
        usable = value == "source" or 0 < float(value) < float("inf")
    except ValueError:
        usable = False
    if not usable:
        raise typer.BadParameter(f"{value!r} is neither a number of mm over 0 nor source")
    return value


@command()
def simulate(
    run: Run,
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="Full scans: a file, a folder, a BIDS tree.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="SIM", help="Folder for the result.")
    ],
    spacing: Annotated[
        str,
        typer.Option(metavar="MM|source", callback=_spacing, help="Voxel; source: finest side."),
    ] = "1",
    keep_every: Annotated[int, typer.Option(min=2, help="Of so many slices one is kept.")] = 6,
    plane: Annotated[
        Literal["axial", "coronal", "sagittal", "random"],
        typer.Option(help="Of the slices; random: drawn for each scan."),
    ] = "axial",
    angle: Annotated[
        float, typer.Option(min=0, max=180, help="Greatest random turn about each axis, degrees.")
    ] = 15.0,
    thickness: Annotated[
        float, typer.Option(min=0, metavar="MM", help="Slice profile (FWHM); 0: point samples.")
    ] = 0.0,
    register: Annotated[bool, typer.Option(help="Bring heads to the template first.")] = True,
    template: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default: the MNI152 T1.")
    ] = None,
    space: Annotated[
        Literal["native", "template"],
        typer.Option(help="template: turned back onto one grid, missing voxels NaN."),
    ] = "native",
    motion: Annotated[
        float,
        typer.Option(
            min=0,
            max=45,
            metavar="MM",
            help="Displace each scan by up to so many mm and degrees, which its header does not "
            "know: people move between series.",
        ),
    ] = 0.0,
    jobs: Annotated[int, typer.Option(min=1, help="Scans at once; changes no byte.")] = 1,
) -> None:
    """Make sparse scans of full ones, as a scanner would deliver them, and keep the truth apart.

    Example: mriimpute simulate heads/ -o sim/ --keep-every 6 --jobs 4
    """
    if template and not register:
        raise typer.BadParameter("--template is of no use with --no-register")
    from mriimpute import api
    from mriimpute.simulation import SimulationConfig

    try:
        config = SimulationConfig(
            spacing="source" if spacing == "source" else float(spacing),
            keep_every=keep_every,
            plane=plane,
            angle_deg=angle,
            thickness_mm=thickness,
            register=register,
            template=template or "mni152",
            space=space,
            motion=motion,
        )
    except ConfigError as error:  # it knows the options alone, no scan
        raise typer.BadParameter(f"{error}; {error.hint}") from error
    report = api.simulate(
        source,
        out,
        config,
        seed=run.seed,
        jobs=jobs,
        overwrite=run.overwrite,
        track=run.track,
    )
    for failure in report.failures:
        tell(MriImputeError(f"{failure.name}: {failure.problem}", hint=failure.hint))
    show_table(["split", "subjects"], [(k, str(n)) for k, n in report.subjects.items()])
    typer.echo(f"{out}: {len(report.written)} simulated, {len(report.kept)} done before")
    if report.failures:
        raise typer.Exit(1)
