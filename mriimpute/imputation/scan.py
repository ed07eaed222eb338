"""One scan from file to files: read, refine, bring companions onto its grid, impute, write."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mriimpute.cohort.inspection import stated_thickness_mm
from mriimpute.cohort.target_grid import (
    TargetGrid,
    axis_name,
    axis_source,
    axis_warning,
    stored_spacing,
    to_target_grid,
)
from mriimpute.errors import ConfigError, OutputError, VolumeError
from mriimpute.files import writable_folder
from mriimpute.geometry import plane_distance_mm, slice_step
from mriimpute.imputation.coding import coded, restored
from mriimpute.imputation.companions import aligned, gained_in_words
from mriimpute.imputation.dicom import require_series, with_series
from mriimpute.imputation.disk import needed_bytes, require_disk
from mriimpute.imputation.jobs import Job
from mriimpute.imputation.request import (
    Request,
    marked,
    named,
    no_draws,
    observed_of,
    recorded,
    require_draws,
    require_help,
)
from mriimpute.imputation.space import writer
from mriimpute.imputation.verdict import judged
from mriimpute.imputation.writing import (
    WRITING_SECONDS,
    interpolated_scan,
    require_finite,
    write_all,
)
from mriimpute.io import Scan, checksum, held_otherwise, read_scan, warn_of_contents
from mriimpute.io.mgz import require_writable
from mriimpute.memory import available_bytes
from mriimpute.methods.base import Imputation, Imputer
from mriimpute.methods.memory_estimate import fitting_tile
from mriimpute.methods.registry import DEFAULT, identity
from mriimpute.progress import SILENT, Progress, Provisional
from mriimpute.provenance import FOLDER
from mriimpute.stopwatch import stage

__all__ = ["impute_scan", "imputed_scan"]

log = logging.getLogger(__name__)

Image = Float[np.ndarray, "i j k"]

VALUES = {
    "echo time": "echo_time_ms",
    "inversion time": "inversion_time_ms",
    "repetition time": "repetition_time_ms",
    "trigger time": "trigger_time_ms",
    "flip angle": "flip_angle_deg",
    "time": "temporal_position",
    "acquisition": "acquisition_number",
}
"""What tells the volumes of one series apart, with its unit."""

AHEAD_SECONDS = 12.0
"""Of one CPU core, about, to impute a million voxels with the help of a companion."""

MAX_OVERLAP = 2.0
"""Of thickness over spacing of slices."""


def impute_scan(
    job: Job,
    imputer: Imputer,
    request: Request,
    *,
    record: Callable[[Mapping[str, Any]], dict[str, Any]],
    overwrite: bool,
    progress: Progress = SILENT,
) -> Path:
    """Imputes one scan, writes the results and returns the path of the mean.

    Args:
        job: The scan and where its results go.
        imputer: The method.
        request: What to make.
        record: Adds what decided the result to the provenance of the run.
        overwrite: Replace results that are there.
        progress: Is told how far it is.

    Raises:
        MriImputeError: If the scan cannot be read, imputed or written.
    """
    require_draws(imputer, request)
    # A file that the user has named may be anything; in a folder of results it is unfinished.
    known = [job.target, job.record] if job.target else [job.record]
    if any(path.exists() for path in known) and not overwrite:
        there = next(path for path in (job.file("mean"), job.record) if path.exists())
        raise OutputError(f"{there} exists", hint="pass --overwrite to replace it")
    started = time.monotonic()
    with stage("read"):
        observed = observed_of(job.scan, request)
        scan = read_scan(job.scan, observed=observed, form=request.form, exact=True)
        require_series(scan, request.dicom, is_native=job.space == "native")
        require_writable(job.file("mean"), scan)
        content, seen = checksum(job.scan), marked(observed)

    def begin(grid: TargetGrid) -> None:
        require_disk(job, needed_bytes(grid, imputer, request, job.space))
        writable_folder(job.folder)
        draws = request.samples * (imputer.draw_seconds + WRITING_SECONDS)
        millions = grid.volume.data.size / 1e6
        progress.plan("draws", draws * millions)
        progress.plan("writing", 2 * WRITING_SECONDS * millions)

    grid, imputed, facts = imputed_scan(
        scan,
        imputer,
        request,
        content=content,
        companions=job.companions,
        begin=begin,
        progress=progress,
    )
    facts |= seen

    put = writer(job.space, scan, grid, imputed.mean)
    made_by = {"sha256": content, "request": facts["request"]}
    files = {label: job.file(label) for label in ("mean", "std")}
    put = with_series(put, scan, grid, request.dicom, files=files, made_by=made_by)
    plain = partial(interpolated_scan, scan, grid) if request.interpolated else None
    with stage("write"):
        write_all(
            job, put, grid, imputed, imputer, request, lambda: record(facts), plain, progress
        )
    log.info(
        "%s: %s, %.1f s",
        job.scan.name,
        _acquired(grid),
        time.monotonic() - started,
    )
    return job.file("mean")


def imputed_scan(
    scan: Scan,
    imputer: Imputer,
    request: Request,
    *,
    content: str,
    companions: Sequence[Path] = (),
    begin: Callable[[TargetGrid], object] = lambda grid: None,
    progress: Progress = SILENT,
) -> tuple[TargetGrid, Imputation, dict[str, Any]]:
    """Returns the grid that a scan is imputed on, what was imputed, and the facts of the record.

    The verdict is part of the quality of what was imputed.

    Args:
        scan: As read.
        imputer: The method.
        request: What to make.
        content: Names the scan in random streams: a renamed or moved scan gets the same draws.
        companions: Other scans of the same head, to help.
        begin: Called once the scan is known to fit the request, before the work begins.
        progress: Is told how far it is.

    Raises:
        MriImputeError: If the scan cannot be imputed, or the result is not finite.
    """
    require_draws(imputer, request)
    require_help(imputer, companions)
    stored = scan
    scan, coding = coded(stored)
    grid = to_target_grid(scan, request.spacing_mm)
    _tell_axis(scan, grid)
    thickness_mm = _thickness_mm(scan, grid, request)
    tile = fitting_tile(
        imputer.memory_estimate,
        grid.volume.shape,
        tile=request.tile,
        free=available_bytes("cpu"),
        what=str(scan.path),
    )
    _require_intensities(stored, force=request.force)
    begin(grid)
    # Companions come first, and take long: until the method announces its work that is a guess.
    ahead = AHEAD_SECONDS * grid.volume.data.size / 1e6 if companions else 0.0
    announced = Provisional(progress, "imputing", ahead)
    ignored: dict[str, str] = {}
    helping = list(
        aligned(
            companions,
            grid.volume,
            imputer,
            seed=request.seed,
            content=content,
            form=request.form,
            ignored=ignored if request.together else None,
            progress=progress,
        )
    )
    progress.advance("imputing")
    volume = replace(grid.volume, thickness_mm=thickness_mm * _slant(grid))
    try:
        method = imputer.tiled(tile).accompanied([one.companion for one in helping])
        method = method.reporting(announced)
        imputed = method.impute(volume, seed=request.seed, case=content)
    except VolumeError as error:  # it knows voxels, no file
        raise VolumeError(f"{scan.path}: {error}", hint=error.hint) from error
    if request.samples and imputed.draw is None:
        raise no_draws(imputer)
    with stage("verdict"):
        packaged = imputer.name == DEFAULT and request.model == identity(DEFAULT)
        verdict = judged(volume, imputed.quality, imputer, packaged=packaged)
    imputed = restored(imputed, stored, grid, coding)
    quality = {**verdict.plain(), **imputed.quality}
    if helping:
        found = zip(helping, imputed.quality["companions"], strict=True)
        quality["companions"] = [{**one.facts(), **gained} for one, gained in found]
        for one in quality["companions"]:
            log.info("%s: %s", one["name"], gained_in_words(one["gain_db"]))
    if ignored:
        listed = [{"name": name, "reason": why} for name, why in ignored.items()]
        quality["companions_ignored"] = listed
    imputed = replace(imputed, quality=quality)
    require_finite(imputed.mean, "mean", scan.path, imputer)
    if imputed.std is not None:
        require_finite(imputed.std, "std", scan.path, imputer)
    source = {"name": _name(scan.path), "sha256": content}
    facts = _facts(scan, grid, imputer, request, source=source, thickness_mm=thickness_mm)
    if companions:
        facts["companions"] = named(companions)
    return grid, imputed, facts


def _tell_axis(scan: Scan, grid: TargetGrid) -> None:
    """Logs along which axis slices are taken to lie where the file does not say so."""
    if warning := axis_warning(scan):
        log.warning("%s: %s", scan.path.name, warning)
    if axis_source(scan, grid.axis, grid.factor) == "voxel size":
        log.info(
            "%s: slices are taken to lie along %s, where voxels are longest: %s mm",
            scan.path.name,
            axis_name(scan, grid.axis),
            stored_spacing(scan),
        )


def _acquired(grid: TargetGrid) -> str:
    """Returns how much of a grid was acquired, in words."""
    others = tuple(a for a in range(3) if a != grid.axis)
    slices = np.asarray(grid.volume.observed.any(axis=others))
    if slices.all():
        return f"{grid.volume.observed.mean():.1%} of voxels acquired"
    return f"{slices.sum()} of {len(slices)} slices acquired"


def _slant(grid: TargetGrid) -> float:
    """Returns how much longer a way along the stack is than one along the normal of slices."""
    distance_mm = plane_distance_mm(grid.volume.affine, grid.axis)
    return round(grid.volume.spacing_mm[grid.axis] / distance_mm, 6)


def _slice_distance_mm(grid: TargetGrid) -> float:
    """Returns how far the planes of acquired slices are apart."""
    step = slice_step(grid.volume.observed, grid.axis, otherwise=grid.factor)
    return step * plane_distance_mm(grid.volume.affine, grid.axis)


def _require_intensities(scan: Scan, *, force: bool) -> None:
    """Stops where numbers are none that lie between those of their neighbours."""
    if force:
        warn_of_contents(scan)
    elif held := held_otherwise(scan):
        raise VolumeError(
            f"{scan.path} holds no intensities but {held}", hint="pass --force to impute it still"
        )


def _thickness_mm(scan: Scan, grid: TargetGrid, request: Request) -> float:
    """Returns how thick slices are taken to be."""
    wanted = request.thickness_mm
    stated = stated_thickness_mm(scan) if wanted == "auto" else wanted
    if stated is None:
        raise ConfigError(
            f"{scan.path} does not say how thick its slices are", hint="pass --thickness MM"
        )
    spacing_mm = _slice_distance_mm(grid)
    if stated > MAX_OVERLAP * spacing_mm:
        raise ConfigError(
            f"{scan.path}: slices are {spacing_mm:.3g} mm apart, not {stated:g} mm thick",
            hint="correct --thickness, or leave it out",
        )
    return stated


def _facts(
    scan: Scan,
    grid: TargetGrid,
    imputer: Imputer,
    request: Request,
    *,
    source: Mapping[str, str],
    thickness_mm: float,
) -> dict[str, Any]:
    axis = grid.axis
    return {
        "method": imputer.name,
        "input": source,
        "slice_axis": "RAS"[axis],
        "slice_axis_from": axis_source(scan, grid.axis, grid.factor),
        "slice_spacing_mm": round(_slice_distance_mm(grid), 6),
        "stated_thickness_mm": stated_thickness_mm(scan),
        "assumed_thickness_mm": thickness_mm,
        "imputed_spacing_mm": [round(mm, 6) for mm in grid.volume.spacing_mm],
        "missing_share": round(1 - float(grid.volume.observed.mean()), 6),
        "request": recorded(request),
        **({"arithmetic": imputer.arithmetic} if request.fast else {}),
        **_part(scan),
    }


def _part(scan: Scan) -> dict[str, Any]:
    """Returns which volume of its series a scan is, where there are several."""
    if scan.series is None or not scan.series.part:
        return {}
    values = {}
    for kind, value in scan.series.kinds:
        with suppress(ValueError):  # texts stay out: they may be anything
            values[VALUES.get(kind, kind.replace(" ", "_"))] = float(value)
    return {"volume": {"name": scan.series.part, **values}}


def _name(scan: Path) -> str:
    """Returns the name of a file; that of a folder is often the patient's."""
    return FOLDER if scan.is_dir() else scan.name
