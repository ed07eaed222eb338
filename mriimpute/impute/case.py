"""One scan from file to files: read, refine, impute, write.

The mean's sidecar is written last: a case is finished when it is there, and a killed run leaves
a case that the next one does again.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from mriimpute.data.cohort import Split, observed_beside
from mriimpute.data.grid import FineGrid, fine_volume
from mriimpute.data.inspection import stated_thickness_mm
from mriimpute.device import TILE
from mriimpute.errors import ConfigError, OutputError, VolumeError
from mriimpute.files import writable_folder, write_json
from mriimpute.impute._contract import Imputation, Imputer
from mriimpute.impute.dataset import CONTENTS, NOTICE, sidecar
from mriimpute.impute.footprint import fitting_tile
from mriimpute.impute.series import Export, remove_export, require_series, with_series
from mriimpute.impute.sources import gather, protect
from mriimpute.impute.space import Space, Write, writer
from mriimpute.io import Scan, checksum, read_scan, stem
from mriimpute.io.bids import NAME, Selection, enclosing_dataset
from mriimpute.memory import available_bytes
from mriimpute.provenance import FOLDER

__all__ = ["Case", "Request", "impute_case", "is_done", "plain", "plan", "require_draws"]

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
    dicom: Export = "none"


@dataclass(frozen=True, slots=True)
class Case:
    """A scan and the folder its results go to."""

    scan: Path
    folder: Path
    space: Space = "native"
    below: Path = Path()
    """Where `folder` lies below the folder for all results."""
    tree: Path | None = None
    """The BIDS tree that the scan was found in, if in one."""

    @property
    def name(self) -> str:
        """What tells the scan from others in tables and reports."""
        return (self.below / self.scan.name).as_posix()

    def results(self) -> list[Path]:
        """Returns the images that are there, that of the mean first."""
        images = [self.file(label) for label in ("mean", "std", "observed")]
        while (draw := self.file(f"draw{len(images) - 2:03d}")).is_file():
            images.append(draw)
        return [path for path in images if path.is_file()]

    def file(self, label: str) -> Path:
        """Returns the path of a result such as "mean"; a BIDS name keeps its entities."""
        name = stem(self.scan)
        bids = NAME.fullmatch(name)
        start, suffix = bids.groups() if bids else (name, "")
        middle = "" if self.space == "native" else f"_space-{self.space}"
        if bids and label == "observed":  # a mask has no suffix of its own to tell T1w from FLAIR
            label, suffix = f"observed{suffix}", "mask"
        end = f"_{suffix}" if bids else ""
        return self.folder / f"{start}{middle}_desc-{label}{end}.nii.gz"

    @property
    def dataset(self) -> Path | None:
        """Root of the results of the BIDS tree that the scan was found in."""
        if self.tree is None:
            return None
        below = self.scan.parent.relative_to(self.tree)
        return self.folder.parents[len(below.parts) - 1] if below.parts else self.folder

    @property
    def record(self) -> Path:
        """The sidecar of the mean, written last."""
        return _sidecar(self.file("mean"))

    @property
    def page(self) -> Path:
        """Where a page about the results lies, if there is one."""
        return self.file("report").with_name(f"{stem(self.file('report'))}.html")


def plan(
    sources: Sequence[Path],
    out: Path | None,
    *,
    split: Split | None = None,
    space: Space = "native",
    selection: Selection | None = None,
    observed: Path | None = None,
) -> list[Case]:
    """Returns the cases that `sources` stand for, each once.

    The results of a file go to `out`, by default to `<name>_imputed` beside it; those of a
    folder keep its structure below `out`, by default `<folder>_imputed` beside it.

    Args:
        sources: Files, folders, BIDS trees, lists.
        out: Folder for results.
        split: Of folders with a `participants.tsv`, the only split to impute.
        space: Where results lie.
        selection: Of BIDS trees, the only scans to impute.
        observed: The image that marks acquired voxels, if not the one beside each scan.

    Raises:
        ConfigError: If a list of scans cannot be read.
        OutputError: If two scans would write the same files, results would lie among inputs, or
            `out` names a file.
        VolumeError: If a folder holds no scan.
    """
    if out is not None and (out.is_file() or out.name.lower().endswith((".nii", ".nii.gz"))):
        raise OutputError(f"{out} is a file name", hint="pass a folder with -o")

    cases: dict[Path, Case] = {}
    for found in gather(sources, split=split, selection=selection):
        folder = (out or found.default) / found.below
        case = Case(found.scan, folder, space, found.below, found.tree)
        other = cases.setdefault(case.file("mean"), case)
        if other != case:
            raise OutputError(
                f"{other.scan} and {case.scan} would both write {case.file('mean')}",
                hint="impute them in two calls with different -o",
            )
    chosen = list(cases.values())
    marks = [observed] if observed else [observed_beside(case.scan) for case in chosen]
    enclosing = [enclosing_dataset(case.scan) for case in chosen] if out else []
    protect(
        [*sources, *(tree for tree in enclosing if tree)],
        [*(case.scan for case in chosen), *filter(None, marks)],
        [case.file(label) for case in chosen for label in ("mean", "std", "observed")],
    )
    return chosen


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
    scan = read_scan(case.scan, observed=request.observed or observed_beside(case.scan))
    require_series(scan, request.dicom, is_native=case.space == "native")
    grid = fine_volume(scan, request.spacing_mm)
    thickness_mm = _thickness_mm(scan, grid, request)
    room = available_bytes("cpu")
    tile = fitting_tile(
        imputer.footprint, grid.volume.shape, tile=request.tile, room=room, what=str(case.scan)
    )
    writable_folder(case.folder)

    # The stream is named by content: a renamed or moved scan gets the same draws.
    content = checksum(case.scan)
    try:
        imputed = imputer.impute(
            replace(grid.volume, thickness_mm=thickness_mm),
            seed=request.seed,
            case=content,
            tile=tile,
            keep_observed=request.keep_observed,
        )
    except VolumeError as error:  # it knows voxels, no file
        raise VolumeError(f"{case.scan}: {error}", hint=error.hint) from error
    if request.samples and imputed.draw is None:
        raise _no_draws(imputer)
    _require_finite(imputed.mean, "mean", case, imputer)
    if imputed.std is not None:
        _require_finite(imputed.std, "std", case, imputer)

    facts = _facts(case, grid, imputer, request, {"name": _name(case.scan), "sha256": content})
    put = writer(case.space, scan, grid, imputed.mean)
    made_by = {"sha256": content, "request": facts["request"]}
    put = with_series(put, scan, grid, request.dicom, made_by=made_by)
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
    grid: FineGrid,
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
        path = case.file(label)
        put(path, data)
        content = CONTENTS[label.rstrip("0123456789")]
        write_json(_sidecar(path), {"Description": content, **described, **record()})

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
            _remove(case.file(label))
        raise


def _remove_stale(case: Case, imputed: Imputation, request: Request) -> None:
    """Removes results of an earlier call that this one does not replace."""
    stale = [] if imputed.std is not None else [case.file("std")]
    number = request.samples + 1
    while (path := case.file(f"draw{number:03d}")).exists():
        stale.append(path)
        number += 1
    for path in stale:
        _remove(path)
    if request.dicom == "none":
        for label in ("mean", "std"):
            remove_export(case.file(label))


def _remove(image: Path) -> None:
    image.unlink(missing_ok=True)
    _sidecar(image).unlink(missing_ok=True)
    remove_export(image)


def _no_draws(imputer: Imputer) -> ConfigError:
    return ConfigError(
        f"{imputer.name} gives no draws",
        hint="leave --samples out or pass --model cross-plane",
    )


def _thickness_mm(scan: Scan, grid: FineGrid, request: Request) -> float:
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
    case: Case, grid: FineGrid, imputer: Imputer, request: Request, source: Mapping[str, str]
) -> dict[str, Any]:
    axis = grid.axis
    spacing_mm = grid.volume.spacing_mm[axis]
    return {
        "method": imputer.name,
        "input": source,
        "slice_axis": "RAS"[axis],
        "slice_spacing_mm": round(spacing_mm * grid.factor, 6),
        "imputed_spacing_mm": [round(mm, 6) for mm in grid.volume.spacing_mm],
        "missing_share": round(1 - float(grid.volume.observed.mean()), 6),
        "request": plain(request),
    }


def _name(scan: Path) -> str:
    """Returns the name of a file; that of a folder is often the patient's."""
    return FOLDER if scan.is_dir() else scan.name


def _spatial(case: Case, grid: FineGrid) -> dict[str, str]:
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


def _sidecar(image: Path) -> Path:
    return image.with_name(f"{stem(image)}.json")
