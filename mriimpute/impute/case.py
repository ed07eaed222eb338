"""One scan from file to files: read, refine, impute, write.

The mean's sidecar is written last: a case is finished when it is there, and a killed run leaves
a case that the next one does again.
"""

import json
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from mriimpute.data.cohort import Split, observed_beside, scans_of
from mriimpute.data.grid import FineGrid, fine_volume
from mriimpute.device import TILE
from mriimpute.errors import ConfigError, OutputError, VolumeError
from mriimpute.files import located, sha256, writable_folder, write_json
from mriimpute.impute._contract import Imputation, Imputer
from mriimpute.impute.space import Space, Write, writer
from mriimpute.io import find_scans, read_scan, stem

__all__ = ["Case", "Request", "impute_case", "is_done", "plan", "require_draws"]

log = logging.getLogger(__name__)

Image = Float32[np.ndarray, "i j k"]

THICKEST = 2.0
"""Slices overlap by less than this ratio of thickness and spacing."""

BIDS_NAME = re.compile(r"(sub-[0-9A-Za-z]+(?:_[a-z]+-[0-9A-Za-z]+)*)_([0-9A-Za-z]+)")

CONTENTS = {
    "mean": "Conditional mean of the imputed scan, in the units of the input",
    "std": "Predictive standard deviation, in the units of the input; 0 where acquired",
    "draw": "Draw from the posterior of the scan given what was acquired",
    "observed": "1 where acquired, 0 where imputed",
}


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
        thickness_mm: Full width at half maximum of the slice profile; 0: point samples.
        adapt: Learn from each scan before it is imputed.
    """

    model: str
    samples: int = 0
    seed: int = 0
    spacing_mm: float | None = None
    observed: Path | None = None
    tile: int = TILE
    keep_observed: bool = True
    thickness_mm: float = 0.0
    adapt: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """A scan and the folder its results go to."""

    scan: Path
    folder: Path
    space: Space = "native"

    def file(self, label: str) -> Path:
        """Returns the path of a result such as "mean"; a BIDS name keeps its entities."""
        name = stem(self.scan)
        bids = BIDS_NAME.fullmatch(name)
        start, suffix = bids.groups() if bids else (name, "")
        middle = "" if self.space == "native" else f"_space-{self.space}"
        end = "_mask" if bids and label == "observed" else f"_{suffix}" if bids else ""
        return self.folder / f"{start}{middle}_desc-{label}{end}.nii.gz"

    @property
    def record(self) -> Path:
        """The sidecar of the mean, written last."""
        return _sidecar(self.file("mean"))


def plan(
    sources: Sequence[Path],
    out: Path | None,
    *,
    split: Split | None = None,
    space: Space = "native",
) -> list[Case]:
    """Returns the cases that `sources` stand for.

    The results of a file go to `out`, by default to `<name>_imputed` beside it; those of a
    folder keep its structure below `out`, by default `<folder>_imputed` beside it.

    Args:
        sources: Files, folders, BIDS trees.
        out: Folder for results.
        split: Of folders with a `participants.tsv`, the only split to impute.
        space: Where results lie.

    Raises:
        OutputError: If two scans would write the same files, or `out` names a file.
        VolumeError: If a source does not exist or holds no scan.
    """
    if out is not None and (out.is_file() or out.name.lower().endswith((".nii", ".nii.gz"))):
        raise OutputError(f"{out} is a file name", hint="pass a folder with -o")

    cases: dict[Path, Case] = {}
    for source in sources:
        root = located(source)
        default = root.with_name(f"{stem(root)}_imputed")
        for scan in scans_of(source, split) if split else find_scans(source):
            below = scan.parent.relative_to(source) if source.is_dir() else Path()
            case = Case(scan, (out or default) / below, space)
            if other := cases.get(case.file("mean")):
                raise OutputError(
                    f"{other.scan} and {scan} would both write {case.file('mean')}",
                    hint="impute them in two calls with different -o",
                )
            cases[case.file("mean")] = case
    return list(cases.values())


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
        same = settings["request"] == _plain(request)
        return same and settings["input"]["sha256"] == sha256(case.scan)
    except (OSError, ValueError, KeyError, TypeError):
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
    grid = fine_volume(scan, request.spacing_mm)
    _require_thickness(case, grid, request)
    writable_folder(case.folder)

    # The stream is named by content: a renamed or moved scan gets the same draws.
    checksum = sha256(case.scan)
    try:
        imputed = imputer.impute(
            replace(grid.volume, thickness_mm=request.thickness_mm),
            seed=request.seed,
            case=checksum,
            tile=request.tile,
            keep_observed=request.keep_observed,
        )
    except VolumeError as error:  # it knows voxels, no file
        raise VolumeError(f"{case.scan}: {error}", hint=error.hint) from error
    if request.samples and imputed.draw is None:
        raise _no_draws(imputer)
    _require_finite(imputed.mean, "mean", case, imputer)
    if imputed.std is not None:
        _require_finite(imputed.std, "std", case, imputer)

    facts = _facts(case, grid, imputer, request, {"name": case.scan.name, "sha256": checksum})
    put = writer(case.space, scan, grid, imputed.mean)
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
    _remove_stale(case, imputed, request)

    def write(label: str, data: Image | UInt8[np.ndarray, "i j k"]) -> None:
        path = case.file(label)
        put(path, data)
        content = CONTENTS[label.rstrip("0123456789")]
        write_json(_sidecar(path), {"Description": content, **record()})

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


def _remove(image: Path) -> None:
    image.unlink(missing_ok=True)
    _sidecar(image).unlink(missing_ok=True)


def _no_draws(imputer: Imputer) -> ConfigError:
    return ConfigError(
        f"{imputer.name} gives no draws",
        hint="leave --samples out or pass --model cross-plane",
    )


def _require_thickness(case: Case, grid: FineGrid, request: Request) -> None:
    spacing_mm = grid.volume.spacing_mm[grid.axis] * grid.factor
    if request.thickness_mm > THICKEST * spacing_mm:
        raise ConfigError(
            f"{case.scan}: slices are {spacing_mm:.3g} mm apart, not {request.thickness_mm:g} mm "
            "thick",
            hint="correct --thickness, or leave it out",
        )


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
        "SpatialReference": "orig" if case.space == "native" else "MNI152NLin2009aSym",
        "request": _plain(request),
    }


def _plain(request: Request) -> dict[str, Any]:
    """Returns what of a request decides the result, as plain values."""
    decisive = asdict(request) | {"observed": request.observed and request.observed.name}
    del decisive["tile"]
    return decisive


def _sidecar(image: Path) -> Path:
    return image.with_name(f"{stem(image)}.json")
