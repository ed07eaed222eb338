"""The files of one imputed scan, written so that a killed run leaves none that seems finished.

The mean's sidecar is written last: a scan is finished when it is there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from mriimpute.cohort.target_grid import TargetGrid
from mriimpute.errors import VolumeError
from mriimpute.files import write_json
from mriimpute.geometry import slice_step
from mriimpute.imputation.bids import CONTENTS, NOTICE, sidecar
from mriimpute.imputation.coding import coded, restored
from mriimpute.imputation.dicom import remove_export
from mriimpute.imputation.jobs import Job
from mriimpute.imputation.request import Request
from mriimpute.imputation.space import Write
from mriimpute.interpolation import interpolated
from mriimpute.io import Scan
from mriimpute.methods.base import Imputation, Imputer
from mriimpute.progress import Progress

__all__ = ["WRITING_SECONDS", "interpolated_scan", "require_finite", "write_all"]

Image = Float[np.ndarray, "i j k"]

WRITING_SECONDS = 0.025
"""Of one CPU core, about, for a million voxels of a mean, a standard deviation or a draw."""


def write_all(
    job: Job,
    put: Write,
    grid: TargetGrid,
    imputed: Imputation,
    imputer: Imputer,
    request: Request,
    record: Callable[[], dict[str, Any]],
    plain: Callable[[], Image] | None,
    progress: Progress,
) -> None:
    """Writes all images of a scan, that of the mean last.

    Args:
        job: Where they go.
        put: Writes one image.
        grid: Of the scan.
        imputed: What was imputed, in the units of the scan.
        imputer: What imputed it.
        request: What to write.
        record: Returns the provenance of the scan.
        plain: Returns the plain interpolation, if it is wanted.
        progress: Is told how far it is.

    Raises:
        MriImputeError: If a draw is not finite, or nothing can be written.
    """
    job.record.unlink(missing_ok=True)  # from here until the end the scan is unfinished
    job.page.unlink(missing_ok=True)  # it would show another result
    _remove_stale(job, imputed, request)
    described = {"Notice": NOTICE, "Quality": imputed.quality, **_spatial(job, grid)}
    if job.tree:
        described |= sidecar(job.scan, job.tree)

    def write(label: str, data: Image | UInt8[np.ndarray, "i j k"]) -> None:
        put(job.file(label), data)
        content = CONTENTS[label.rstrip("0123456789")]
        write_json(job.sidecar(label), {"Description": content, **described, **record()})
        millions = grid.volume.data.size / 1e6
        if label.startswith("draw"):
            progress.advance("draws", (imputer.draw_seconds + WRITING_SECONDS) * millions)
        elif label != "observed":
            progress.advance("writing", WRITING_SECONDS * millions)

    if imputed.draw is not None:
        progress.advance("draws")
        _write_draws(job, imputed.draw, imputer, request.samples, write)
    if imputed.std is not None:
        write("std", imputed.std)
    if plain is not None:
        write("interpolated", plain())
    write("observed", grid.volume.observed.astype(np.uint8))
    write("mean", imputed.mean)


def interpolated_scan(scan: Scan, grid: TargetGrid) -> Image:
    """Returns what the best of the plain interpolations makes of a scan, in its units."""
    volume = Imputation(interpolated(grid.volume, "pchip"))
    return restored(volume, scan, grid, coded(scan)[1]).mean


def require_finite(image: Image, what: str, scan: Path, imputer: Imputer) -> None:
    """Stops where a result is not finite everywhere.

    Raises:
        VolumeError: If so; it names the scan and the method.
    """
    if not np.isfinite(image).all():
        raise VolumeError(
            f"{scan}: the {what} of {imputer.name} is not finite everywhere",
            hint="report this; --model linear works meanwhile",
        )


def _write_draws(
    job: Job,
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
            require_finite(image, f"draw {number}", job.scan, imputer)
            write(label, image)
    except VolumeError:
        for label in labels:
            _remove(job, label)
        raise


def _remove_stale(job: Job, imputed: Imputation, request: Request) -> None:
    """Removes results of an earlier call that this one does not replace."""
    stale = [] if imputed.std is not None else ["std"]
    stale += [] if request.interpolated else ["interpolated"]
    number = request.samples + 1
    while job.file(label := f"draw{number:03d}").exists():
        stale.append(label)
        number += 1
    for label in stale:
        _remove(job, label)
    if request.dicom == "none":
        for label in ("mean", "std"):
            remove_export(job.file(label))


def _remove(job: Job, label: str) -> None:
    job.file(label).unlink(missing_ok=True)
    job.sidecar(label).unlink(missing_ok=True)
    remove_export(job.file(label))


def _spatial(job: Job, grid: TargetGrid) -> dict[str, str]:
    """Returns where an image lies and how fine it is, in the words of BIDS."""
    if job.space == "template":
        return {"SpatialReference": "MNI152NLin2009aSym", "Resolution": "1 mm, isotropic"}
    spacing_mm = grid.volume.spacing_mm[grid.axis]
    step = slice_step(grid.volume.observed, grid.axis, otherwise=grid.factor)
    return {
        "SpatialReference": "orig",
        "Resolution": f"{spacing_mm:.4g} mm between slices, {spacing_mm * step:.4g} mm "
        "where acquired; unchanged inside slices",
    }
