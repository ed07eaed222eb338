"""`mriimpute inspect`: what the tool sees in a scan."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mriimpute.cli.app import command, tell, trace
from mriimpute.cli.output import show_table
from mriimpute.cli.run import Run
from mriimpute.errors import listed

__all__ = ["inspect"]


@command()
def inspect(
    run: Run,
    scan: Annotated[
        Path,
        typer.Argument(
            metavar="SCAN", help="A NIfTI or MGZ file, a folder, a BIDS tree, a DICOM series."
        ),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per scan, for programs.")
    ] = False,
) -> None:
    """Show what the tool sees in a scan: grid, spacing, gap, what is missing, warnings.

    Example: mriimpute inspect scan.nii.gz
    """
    from mriimpute.cohort.inspection import inspection
    from mriimpute.cohort.split import observed_beside
    from mriimpute.imputation.sources import session_of
    from mriimpute.io import find_scans, read_scan

    failed = []
    paths = find_scans(scan)
    exams: dict[tuple[str, ...], list[str]] = {}
    for path in paths:
        exams.setdefault(session_of(path), []).append(path.name)
    for path in run.track(paths, total=len(paths), label="scans"):
        try:
            with run.track.inside(path.name):
                # As `impute` takes it when nothing else is said.
                observed = observed_beside(path)
                seen = inspection(read_scan(path, observed=observed, exact=True))
                seen["observed"] = observed.name if observed else None
                seen["companions"] = [
                    name for name in exams[session_of(path)] if name != path.name
                ]
        except Exception as error:  # whatever is wrong with one scan, the others are shown
            if len(paths) == 1:
                raise
            trace(run, error)
            tell(error)
            failed.append(path.name)
            continue
        if as_json:
            typer.echo(json.dumps(seen))
        else:
            show_table(["", ""], _rows(seen), title=str(path), left=2)
    if failed:
        typer.echo(f"failed: {len(failed)} of {len(paths)}: {', '.join(failed)}", err=True)
        raise typer.Exit(1)


WHY = {
    "header": "the header says so",
    "voxel size": "where voxels are longest",
    "missing slices": "where slices are missing",
}
"""How it is known along which axis slices lie."""


def _rows(seen: dict[str, Any]) -> list[tuple[str, str]]:
    shape, fine = _by(seen["shape"]), _by(seen["imputed_shape"])
    spacing, fine_spacing = _by(seen["spacing_mm"]), _by(seen["imputed_spacing_mm"])
    thickness, gap = seen["slice_thickness_mm"], seen["slice_gap_mm"]
    levels = seen["intensity"]
    slices = "no axis is coarser than the others"
    if seen["slice_axis"]:
        along = f"along {seen['slice_axis']} ({seen['slice_direction']})"
        why = WHY[seen["slice_axis_from"]]
        slices = f"{along}, {seen['slice_spacing_mm']:g} mm from one to the next; {why}"
    return [
        ("grid", f"{shape} voxels of {spacing} mm"),
        ("orientation", f"{seen['orientation']}, oblique by {seen['obliquity_deg']:.1f} degrees"),
        ("slices", slices),
        (
            "thickness",
            "unknown: the file does not say" if thickness is None else f"{thickness:g} mm",
        ),
        ("gap", "unknown without the thickness" if gap is None else f"{gap:g} mm"),
        ("imputed grid", f"{fine} voxels of {fine_spacing} mm (factor {seen['factor']})"),
        ("missing", f"{seen['missing_share']:.1%} of the imputed grid"),
        *([("acquired", f"as {seen['observed']} says")] if seen["observed"] else []),
        ("NaN", f"{seen['nan_voxels']} voxels"),
        (
            "intensity",
            f"{levels['percentile_1']:g} to {levels['percentile_99']:g} (1st to 99th percentile), "
            f"{levels['min']:g} to {levels['max']:g} in all",
        ),
        ("stored as", f"{seen['stored_as']} * {seen['slope']:g} + {seen['intercept']:g}"),
        ("forms", f"qform code {seen['qform_code']}, sform code {seen['sform_code']}"),
        *(
            [("beside it", f"{listed(seen['companions'])}: --together, if of the same head")]
            if seen["companions"]
            else []
        ),
        *(("warning", warning) for warning in seen["warnings"]),
    ]


def _by(numbers: list[int] | list[float]) -> str:
    return " x ".join(f"{number:g}" for number in numbers)
