"""What to make of each scan, and whether an earlier call has made it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mriimpute.cohort.inspection import sidecar_thickness_mm
from mriimpute.cohort.split import observed_beside
from mriimpute.device import TILE
from mriimpute.errors import ConfigError, MriImputeError, VolumeError
from mriimpute.imputation.dicom import Export
from mriimpute.imputation.jobs import Job
from mriimpute.io import Form, checksum, holds_dicom
from mriimpute.methods.base import Imputer

__all__ = [
    "Request",
    "is_done",
    "marked",
    "named",
    "no_draws",
    "observed_of",
    "recorded",
    "require_draws",
    "require_help",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What to make of each scan.

    Attributes:
        model: What imputes: the name of a method, or the SHA-256 of a model file.
        samples: Number of posterior draws.
        seed: Same seed, same draws; from 0.
        spacing_mm: Between output slices, in mm; None stands for the in-plane spacing.
        observed: Image that marks acquired voxels. None: an image `desc-observed` beside the
            scan, else the geometry and NaN tell.
        tile: Edge of the region worked on at once, in voxels. It bounds memory alone.
        thickness_mm: Full width at half maximum of the slice profile; 0: point samples; "auto":
            what the header of each scan says.
        adapt: Learn from each scan before it is imputed.
        fast: Compute faster and less exactly.
        form: Which NIfTI form says where a scan lies; "auto": the sform where its code is set.
        dicom: Which derived DICOM series to write, too.
        force: Go on where a scan seems to hold no intensities. It changes no voxel.
        interpolated: Write what plain interpolation makes of the scan, too.
        together: Every scan of an exam is helped by the others, as far as they can be used.
    """

    model: str
    samples: int = 0
    seed: int = 0
    spacing_mm: float | None = None
    observed: Path | None = None
    tile: int = TILE
    thickness_mm: float | Literal["auto"] = 0.0
    adapt: bool = False
    fast: bool = False
    form: Form = "auto"
    dicom: Export = "none"
    force: bool = False
    interpolated: bool = False
    together: bool = False


def require_draws(imputer: Imputer, request: Request) -> None:
    """Stops before any work where draws are asked of a method that gives none.

    Raises:
        ConfigError: If so.
    """
    if request.samples and not imputer.gives_draws:
        raise no_draws(imputer)


def require_help(imputer: Imputer, companions: Sequence[Path]) -> None:
    """Stops before any work where companions are given to a method that cannot use them.

    Raises:
        ConfigError: If so.
    """
    if companions and not imputer.uses_companions:
        raise ConfigError(
            f"companion scans do not help {imputer.name}", hint="pass --model cross-plane"
        )


def named(companions: Sequence[Path]) -> list[dict[str, str]]:
    """Returns what is recorded of the companions that were asked for, whether they helped or not.

    The checksum of one that cannot be read is empty: once it can be, there is more to be had.
    """
    found = []
    for path in companions:
        facts = {"name": path.name, "sha256": _checksum_if_readable(path)}
        if beside := observed_beside(path):
            facts["observed_sha256"] = _checksum_if_readable(beside)
        found.append(facts)
    return found


def observed_of(scan: Path, request: Request) -> Path | None:
    """Returns the image that says which voxels of a scan were acquired, if there is one."""
    return request.observed or observed_beside(scan)


def marked(observed: Path | None) -> dict[str, str]:
    """Returns what is recorded of the image that marks acquired voxels: nothing without one."""
    return {} if observed is None else {"observed_sha256": checksum(observed)}


def is_done(job: Job, request: Request) -> bool:
    """Tells whether an earlier call finished this very scan with the same request."""
    try:
        settings = json.loads(job.record.read_text(encoding="utf-8"))["settings"]
        same = settings["request"] == recorded(request) and job.file("mean").is_file()
        same &= settings.get("companions", []) == named(job.companions)
        seen = marked(observed_of(job.scan, request)).get("observed_sha256")
        same &= settings.get("observed_sha256") == seen
        if request.thickness_mm == "auto" and not holds_dicom(job.scan):  # its content tells
            same &= settings["assumed_thickness_mm"] == sidecar_thickness_mm(job.scan)
        return same and settings["input"]["sha256"] == checksum(job.scan)
    except (VolumeError, OSError, ValueError, KeyError, TypeError):
        return False  # no record, or one that another tool wrote


def recorded(request: Request) -> dict[str, Any]:
    """Returns what of a request decides the result, as plain values."""
    decisive = asdict(request) | {"observed": request.observed and request.observed.name}
    del decisive["tile"], decisive["force"]
    if not request.interpolated:  # results of earlier versions, which had none, count as done
        del decisive["interpolated"]
    if not request.fast:  # results of earlier versions count as done
        del decisive["fast"]
    del decisive["together"]  # the companions are recorded themselves
    # Was an option once: without it, results of earlier versions would not count as done.
    return decisive | {"keep_observed": True}


def no_draws(imputer: Imputer) -> ConfigError:
    """Returns the error of a method that was asked for draws and gives none."""
    return ConfigError(
        f"{imputer.name} gives no draws",
        hint="leave --samples out or pass --model cross-plane",
    )


def _checksum_if_readable(path: Path) -> str:
    try:
        return checksum(path)
    except (MriImputeError, OSError):
        return ""
