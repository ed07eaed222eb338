"""`mriimpute impute`: fill the slices that a scan skipped."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mriimpute.cli import complete
from mriimpute.cli.app import command
from mriimpute.cli.batch import work_through
from mriimpute.cli.run import Run
from mriimpute.cli.variadic import VariadicCommand
from mriimpute.device import TILE
from mriimpute.errors import ConfigError
from mriimpute.methods.registry import DEFAULT, without_weights

if TYPE_CHECKING:
    from mriimpute.imputation.jobs import Job

__all__ = ["impute"]

SCAN, RESULT, WORK = "What the scan is", "What is written", "How it is computed"
BATCH, HELP = "Many scans", "Other scans of the same head"


@command(cls=VariadicCommand)
def impute(
    run: Run,
    scans: Annotated[
        list[Path],
        typer.Argument(
            metavar="SCAN",
            help="Files, folders of scans, BIDS trees, DICOM series (folder or zip), .txt lists "
            "with one path a line.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder for results, or for one scan the file of its mean, such as out.nii.gz: "
            "the rest goes beside it, out_desc-std.nii.gz ... Default: SCAN_imputed beside SCAN. "
            "Files are of the kind of SCAN (.nii.gz, .nii, .mgz), or of that file.",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            autocompletion=complete.imputing_models,
            help="A run folder of `train`, cross-plane (weights come with the package), or a "
            f"method without weights: {', '.join(without_weights())}.",
        ),
    ] = DEFAULT,
    samples: Annotated[
        int, typer.Option(min=0, max=999, metavar="K", help="Posterior draws to write.")
    ] = 0,
    companions: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            metavar="OTHER",
            rich_help_panel=HELP,
            help="Another scan of the same head, of any contrast, plane and spacing, to help; "
            "may be given several times.",
        ),
    ] = None,
    together: Annotated[
        bool,
        typer.Option(
            "--together",
            rich_help_panel=HELP,
            help="Every scan is helped by the others of its exam: of a BIDS session, a DICOM "
            "study, or a folder.",
        ),
    ] = False,
    observed: Annotated[
        Path | None,
        typer.Option(
            metavar="IMAGE",
            rich_help_panel=SCAN,
            help="1 where acquired. Default: SCAN_desc-observed beside it, else geometry and NaN.",
        ),
    ] = None,
    xform: Annotated[
        Literal["auto", "sform", "qform"],
        typer.Option(
            rich_help_panel=SCAN,
            help="NIfTI form that says where the scan lies. auto: the sform, if its code is set.",
        ),
    ] = "auto",
    thickness: Annotated[
        str,
        typer.Option(
            metavar="MM|auto",
            rich_help_panel=SCAN,
            help="Slice profile (FWHM), for cross-plane; 0: point samples; auto: what the DICOM "
            "header or the BIDS sidecar states.",
        ),
    ] = "0",
    adapt: Annotated[
        bool,
        typer.Option(
            "--adapt",
            rich_help_panel=WORK,
            help="Let cross-plane learn from the scan's own slices first; slower.",
        ),
    ] = False,
    fast: Annotated[
        bool,
        typer.Option(
            "--fast",
            rich_help_panel=WORK,
            help="cross-plane in less than half the time, less exactly: bfloat16, two planes.",
        ),
    ] = False,
    tile: Annotated[
        int,
        typer.Option(
            min=16,
            metavar="VOXELS",
            rich_help_panel=WORK,
            help="Edge worked on at once; bounds memory only.",
        ),
    ] = TILE,
    mem_mb: Annotated[
        int,
        typer.Option(
            "--mem-mb",
            min=0,
            metavar="MB",
            rich_help_panel=WORK,
            help="Main memory to get along with, in MB: smaller tiles, or a scan that needs more "
            "is refused. 0: what is free.",
        ),
    ] = 0,
    spacing: Annotated[
        float | None,
        typer.Option(
            metavar="MM",
            rich_help_panel=RESULT,
            help="Between output slices. Default: as inside a slice.",
        ),
    ] = None,
    space: Annotated[
        Literal["native", "template"],
        typer.Option(
            rich_help_panel=RESULT,
            help="template: the common 1 mm grid, by an affine; voxels are resampled.",
        ),
    ] = "native",
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            rich_help_panel=SCAN,
            help="Impute what seems to hold no intensities, too: phase, field maps, labels.",
        ),
    ] = False,
    page: Annotated[
        bool,
        typer.Option(
            "--page",
            rich_help_panel=RESULT,
            help="Also desc-report.html beside the results, to look at: planes, uncertainty, "
            "interpolated against imputed. It shows the person scanned.",
        ),
    ] = False,
    write_interpolated: Annotated[
        bool,
        typer.Option(
            "--write-interpolated",
            rich_help_panel=RESULT,
            help="Also desc-interpolated: the scan on the new grid by plain interpolation "
            "(monotone cubic), to compare with.",
        ),
    ] = False,
    dicom_out: Annotated[
        bool,
        typer.Option(
            "--dicom-out",
            rich_help_panel=RESULT,
            help="For a DICOM series: mean and std also as derived series of its study.",
        ),
    ] = False,
    dicom_identity: Annotated[
        bool,
        typer.Option(
            "--dicom-identity",
            rich_help_panel=RESULT,
            help="With --dicom-out: these name the patient; else only the study's unique "
            "identifier does. Never the birth date.",
        ),
    ] = False,
    participant_label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL...",
            rich_help_panel=BATCH,
            help="Only these participants of BIDS trees; after SCAN.",
        ),
    ] = None,
    session_id: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL...", rich_help_panel=BATCH, help="Only these sessions of BIDS trees."
        ),
    ] = None,
    bids_filter_file: Annotated[
        Path | None,
        typer.Option(
            metavar="JSON",
            rich_help_panel=BATCH,
            help="Only scans that meet one of its queries, as fMRIPrep spells them: "
            '{"t1w": {"session": "pre"}, "flair": {}}.',
        ),
    ] = None,
    split: Annotated[
        Literal["train", "val", "test"] | None,
        typer.Option(
            rich_help_panel=BATCH, help="Only these subjects of a folder's participants.tsv."
        ),
    ] = None,
    part: Annotated[
        str,
        typer.Option(
            metavar="I/N",
            rich_help_panel=BATCH,
            help="Of N parts of the scans, do part I: for array jobs.",
        ),
    ] = "1/1",
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="JSON",
            rich_help_panel=BATCH,
            help="Where to keep what became of each scan; written anew after each.",
        ),
    ] = None,
) -> None:
    """Fill the slices that a scan skipped: conditional mean, uncertainty, posterior draws.

    Acquired voxels come back bit for bit. What an earlier call has done the same way is skipped.

    Results are named like the file or folder that they are made of: keep names of patients out of
    those. Nothing else of a header or a path is passed on.

    Several GPUs share a list: torchrun --nproc-per-node 8 -m mriimpute impute list.txt -o out/

    Example: mriimpute impute scan.nii.gz --samples 20
    """
    from mriimpute.distributed import joined
    from mriimpute.imputation.batch import Batch, Part
    from mriimpute.imputation.jobs import plan_jobs
    from mriimpute.imputation.request import Request, require_draws, require_help
    from mriimpute.imputation.sources import protect_inputs
    from mriimpute.io.bids import Selection, read_queries
    from mriimpute.memory import limited_memory
    from mriimpute.methods.registry import identity, load_imputer, uses_device

    if dicom_identity and not dicom_out:
        raise typer.BadParameter("--dicom-identity needs --dicom-out")
    try:
        wanted_part = Part.parse(part)
    except ConfigError as error:
        raise typer.BadParameter(str(error), param_hint="--part") from error
    selection = Selection(
        participants=tuple(participant_label or ()),
        sessions=tuple(session_id or ()),
        queries=read_queries(bids_filter_file) if bids_filter_file else (),
    )
    with limited_memory(mem_mb * 10**6), joined(run.world) as world:
        with world.main_first():
            jobs = plan_jobs(
                scans,
                out,
                split=split,
                space=space,
                selection=selection,
                observed=observed,
                companions=companions or (),
                together=together,
            )
            if report:
                protect_inputs(scans, [job.scan for job in jobs], [report])
            request = Request(
                model=identity(model),
                samples=samples,
                seed=run.seed,
                spacing_mm=spacing,
                observed=observed,
                tile=tile,
                thickness_mm=_thickness(thickness),
                adapt=adapt,
                fast=fast,
                form=xform,
                force=force,
                interpolated=write_interpolated,
                together=together,
                dicom=("identified" if dicom_identity else "anonymous") if dicom_out else "none",
            )
            # Not all methods compute on a device, and asking for it loads torch.
            plain = run.wanted_device == "auto" and not uses_device(model)
            device = "cpu" if plain else run.device
            imputer = load_imputer(model, device=device, adapt=adapt, fast=fast)
            require_draws(imputer, request)
            require_help(imputer, [path for job in jobs for path in job.companions])
            write_page = None
            if page:  # it loads matplotlib, which nothing else here needs
                from mriimpute.report import write_scan_page

                write_page = partial(write_scan_page, request=request)
            batch = Batch(
                jobs,
                request,
                imputer,
                record=lambda facts: run.record(settings=facts, device=imputer.device),
                overwrite=run.overwrite,
                part=wanted_part,
                file=report,
                page=write_page,
                overview=_write_overviews,
                world=world,
            )
        work_through(run, batch)


def _write_overviews(jobs: "Sequence[Job]", problems: "Mapping[Job, str]") -> None:
    from mriimpute.imputation.overview import grouped

    if grouped(jobs):  # of several scans; only then is the package loaded that writes pages
        from mriimpute.report import write_overviews

        write_overviews(jobs, problems)


def _thickness(text: str) -> float | Literal["auto"]:
    if text == "auto":
        return "auto"
    try:
        given = float(text)
    except ValueError:
        given = math.nan
    if not 0 <= given < math.inf:
        raise typer.BadParameter(
            f"must be auto or mm from 0 up, got {text!r}", param_hint="--thickness"
        )
    return given
