"""One scan from file to files: read, refine, impute, write.

The mean's sidecar is written last: a case is finished when it is there, and a killed run leaves
a case that the next one does again.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from mriimpute.cohort.inspection import stated_thickness_mm
from mriimpute.cohort.split import observed_beside
from mriimpute.cohort.target_grid import TargetGrid, to_target_grid
from mriimpute.device import TILE
from mriimpute.errors import ConfigError, OutputError, VolumeError
from mriimpute.files import writable_folder, write_json
from mriimpute.impute.bids import CONTENTS, NOTICE, sidecar
from mriimpute.impute.dicom import Export, remove_export, require_series, with_series
from mriimpute.impute.jobs import Case
from mriimpute.impute.space import Write, writer
from mriimpute.io import Form, Scan, checksum, read_scan
from mriimpute.memory import available_bytes
from mriimpute.methods.base import Imputation, Imputer
from mriimpute.methods.memory_estimate import fitting_tile
from mriimpute.provenance import FOLDER
from mriimpute.stopwatch import stage

__all__ = ["Request", "impute_case", "is_done", "plain", "require_draws"]

log = logging.getLogger(__name__)

Image = Float32[np.ndarray, "i j k"]

THICKEST = 2.0
"""Slices overlap by less than this ratio of thickness and spacing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What to make of each scan.

    Attributes:
        model: What imputes: the name of a method, or the SHA-256 of a model file.
        samples: Number of posterior draws.
        seed: Of the run.
        spacing_mm: Between output slices, in mm; None stands for the in-plane spacing.
        observed: Image that marks acquired voxels. None: an image `desc-observed` beside the
            scan, else the geometry and NaN tell.
        tile: Edge of the region worked on at once, in voxels.
        keep_observed: Acquired voxels come back bit for bit.
        thickness_mm: Full width at half maximum of the slice profile; 0: point samples; "auto":
            what the header of each scan says.
        adapt: Learn from each scan before it is imputed.
        form: Which NIfTI form says where a scan lies; "auto": the sform where its code is set.
        dicom: Which derived DICOM series to write, too.
    """

    model: str
    samples: int = 0
    seed: int = 0
    spacing_mm: float | None = None
    observed: Path | None = None
    tile: int = TILE
    keep_observed: bool = True
    thickness_mm: float | Literal["auto"] = 0.0
    adapt: bool = False
    form: Form = "auto"
    dicom: Export = "none"


def require_draws(imputer: Imputer, request: Request) -> None:
    """Stops before any work where draws are asked of a method that gives none.

    Raises:
        ConfigError: If so.
    """
    if request.samples and not imputer.gives_draws:
        raise _no_draws(imputer)


def is_done(case: Case, request: Request) -> bool:
    """Tells whether an earlier call finished this very scan with the same request."""
    try:
        settings = json.loads(case.record.read_text(encoding="utf-8"))["settings"]
        same = settings["request"] == plain(request)
        return same and settings["input"]["sha256"] == checksum(case.scan)
    except (VolumeError, OSError, ValueError, KeyError, TypeError):
        return False  # no record, or one that another tool wrote


def impute_case(
    case: Case,
    imputer: Imputer,
    request: Request,
    *,
    record: Callable[[Mapping[str, Any]], dict[str, Any]],
    overwrite: bool,
) -> Path:
    """Imputes one scan, writes the results and returns the path of the mean.

    Args:
        case: The scan and where its results go.
        imputer: The method.
        request: What to make.
        record: Adds what decided the result to the provenance of the run.
        overwrite: Replace results that are there.

    Raises:
        MriImputeError: If the scan cannot be read, imputed or written.
    """
    require_draws(imputer, request)
    if case.record.exists() and not overwrite:
        raise OutputError(f"{case.file('mean')} exists", hint="pass --overwrite to replace it")
    started = time.monotonic()
    with stage("read"):
        marks = request.observed or observed_beside(case.scan)
        scan = read_scan(case.scan, observed=marks, form=request.form)
        require_series(scan, request.dicom, is_native=case.space == "native")
        grid = to_target_grid(scan, request.spacing_mm)
    thickness_mm = _thickness_mm(scan, grid, request)
    tile = fitting_tile(
        imputer.memory_estimate,
        grid.volume.shape,
        tile=request.tile,
        free=available_bytes("cpu"),
        what=str(case.scan),
    )
    writable_folder(case.folder)

    # The stream is named by content: a renamed or moved scan gets the same draws.
    with stage("read"):
        content = checksum(case.scan)
    try:
        imputed = imputer.tiled(tile).impute(
            replace(grid.volume, thickness_mm=thickness_mm), seed=request.seed, case=content
        )
    except VolumeError as error:  # it knows voxels, no file
        raise VolumeError(f"{case.scan}: {error}", hint=error.hint) from error
    if request.samples and imputed.draw is None:
        raise _no_draws(imputer)
    _require_finite(imputed.mean, "mean", case, imputer)
    if imputed.std is not None:
        _require_finite(imputed.std, "std", case, imputer)

    source = {"name": _name(case.scan), "sha256": content}
    facts = _facts(scan, grid, imputer, request, source=source, thickness_mm=thickness_mm)
    put = writer(case.space, scan, grid, imputed.mean)
    made_by = {"sha256": content, "request": facts["request"]}
    put = with_series(put, scan, grid, request.dicom, made_by=made_by)
    with stage("write"):
        _write_all(case, put, grid, imputed, imputer, request, lambda: record(facts))
    log.info(
        "%s: %d of %d slices acquired, %.1f s",
        case.scan.name,
        scan.volume.shape[grid.axis],
        grid.volume.shape[grid.axis],
        time.monotonic() - started,
    )
    return case.file("mean")


def _write_all(
    case: Case,
    put: Write,
    grid: TargetGrid,
    imputed: Imputation,
    imputer: Imputer,
    request: Request,
    record: Callable[[], dict[str, Any]],
) -> None:
    case.record.unlink(missing_ok=True)  # from here until the end the case is unfinished
    case.page.unlink(missing_ok=True)  # it would show another result
    _remove_stale(case, imputed, request)
    described = {"Notice": NOTICE, **_spatial(case, grid)}
    if case.tree:
        described |= sidecar(case.scan, case.tree)

    def write(label: str, data: Image | UInt8[np.ndarray, "i j k"]) -> None:
        put(case.file(label), data)
        content = CONTENTS[label.rstrip("0123456789")]
        write_json(case.sidecar(label), {"Description": content, **described, **record()})

    if imputed.draw is not None:
        _write_draws(case, imputed.draw, imputer, request.samples, write)
    if imputed.std is not None:
        write("std", imputed.std)
    write("observed", grid.volume.observed.astype(np.uint8))
    write("mean", imputed.mean)


def _write_draws(
    case: Case,
    draw: Callable[[int], Image],
    imputer: Imputer,
    samples: int,
    write: Callable[[str, Image], None],
) -> None:
    """Writes draws one by one, as only one fits into memory; one that fails takes all back."""
    labels = [f"draw{number:03d}" for number in range(1, samples + 1)]
    try:
        for number, label in enumerate(labels, start=1):
            image = draw(number)
            _require_finite(image, f"draw {number}", case, imputer)
            write(label, image)
    except VolumeError:
        for label in labels:
            _remove(case, label)
        raise


def _remove_stale(case: Case, imputed: Imputation, request: Request) -> None:
    """Removes results of an earlier call that this one does not replace."""
    stale = [] if imputed.std is not None else ["std"]
    number = request.samples + 1
    while case.file(label := f"draw{number:03d}").exists():
        stale.append(label)
        number += 1
    for label in stale:
        _remove(case, label)
    if request.dicom == "none":
        for label in ("mean", "std"):
            remove_export(case.file(label))


def _remove(case: Case, label: str) -> None:
    case.file(label).unlink(missing_ok=True)
    case.sidecar(label).unlink(missing_ok=True)
    remove_export(case.file(label))


def _no_draws(imputer: Imputer) -> ConfigError:
    return ConfigError(
        f"{imputer.name} gives no draws",
        hint="leave --samples out or pass --model cross-plane",
    )


def _thickness_mm(scan: Scan, grid: TargetGrid, request: Request) -> float:
    """Returns how thick slices are taken to be."""
    given = stated_thickness_mm(scan) if request.thickness_mm == "auto" else request.thickness_mm
    if given is None:
        raise ConfigError(
            f"{scan.path} does not say how thick its slices are", hint="pass --thickness MM"
        )
    spacing_mm = grid.volume.spacing_mm[grid.axis] * grid.factor
    if given > THICKEST * spacing_mm:
        raise ConfigError(
            f"{scan.path}: slices are {spacing_mm:.3g} mm apart, not {given:g} mm thick",
            hint="correct --thickness, or leave it out",
        )
    return given


def _require_finite(image: Image, what: str, case: Case, imputer: Imputer) -> None:
    if not np.isfinite(image).all():
        raise VolumeError(
            f"{case.scan}: the {what} of {imputer.name} is not finite everywhere",
            hint="report this; --model linear works meanwhile",
        )


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
    spacing_mm = grid.volume.spacing_mm[axis]
    return {
        "method": imputer.name,
        "input": source,
        "slice_axis": "RAS"[axis],
        "slice_spacing_mm": round(spacing_mm * grid.factor, 6),
        "stated_thickness_mm": stated_thickness_mm(scan),
        "assumed_thickness_mm": thickness_mm,
        "imputed_spacing_mm": [round(mm, 6) for mm in grid.volume.spacing_mm],
        "missing_share": round(1 - float(grid.volume.observed.mean()), 6),
        "request": plain(request),
    }


def _name(scan: Path) -> str:
    """Returns the name of a file; that of a folder is often the patient's."""
    return FOLDER if scan.is_dir() else scan.name


def _spatial(case: Case, grid: TargetGrid) -> dict[str, str]:
    """Returns where an image lies and how fine it is, in the words of BIDS."""
    if case.space == "template":
        return {"SpatialReference": "MNI152NLin2009aSym", "Resolution": "1 mm, isotropic"}
    spacing_mm = grid.volume.spacing_mm[grid.axis]
    return {
        "SpatialReference": "orig",
        "Resolution": f"{spacing_mm:.4g} mm between slices, {spacing_mm * grid.factor:.4g} mm "
        "where acquired; unchanged inside slices",
    }


def plain(request: Request) -> dict[str, Any]:
    """Returns what of a request decides the result, as plain values."""
    decisive = asdict(request) | {"observed": request.observed and request.observed.name}
    del decisive["tile"]
    return decisive
