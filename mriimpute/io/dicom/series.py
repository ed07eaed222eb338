"""DICOM in: one series becomes one scan."""

import hashlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from jaxtyping import Float, Float64

from mriimpute.errors import VolumeError
from mriimpute.files import sha256
from mriimpute.geometry import skew_deg
from mriimpute.io.container import open_container
from mriimpute.io.dicom.addresses import holds_dicom, one_series
from mriimpute.io.dicom.pixels import intensities
from mriimpute.io.dicom.planes import Series
from mriimpute.io.dicom.stack import SliceStack, to_stack
from mriimpute.io.forms import set_forms
from mriimpute.io.precision import as_single
from mriimpute.io.scan import AS_STORED, Scan, to_canonical
from mriimpute.volume import Volume

__all__ = ["checksum", "read_series"]

TOLD_MM = 1e-3
"""Of voxels that are moved: less is not worth a word."""


def read_series(path: Path, *, observed: Path | None = None) -> Scan:
    """Returns the scan of a DICOM series.

    Args:
        path: A folder, zip archive or file with one series, or the address of one of several.
        observed: An image on the grid of the series, non-zero where it was acquired.

    Raises:
        VolumeError: If it cannot be read, or there are several series at `path`.
        GeometryError: If its slices make no volume.
    """
    series = one_series(path)
    name = _display_name(path, series)
    stack = to_stack(series.planes, name)
    data, dtype = intensities(stack, series, name)
    _require_slopes(stack, data, name)
    slopes = {(plane.slope, plane.intercept) for plane in stack.planes}
    slope, intercept = slopes.pop() if len(slopes) == 1 else (1.0, 0.0)
    thickness = {plane.thickness_mm for plane in stack.planes}
    thickness_mm = thickness.pop() if len(thickness) == 1 else 0.0
    scan = Scan(
        path,
        Volume(as_single(data), np.isfinite(data), stack.affine),
        _header(stack.affine, data.shape),
        AS_STORED,
        tuple(_warnings(stack)),
        dtype=dtype,
        slope=slope,
        intercept=intercept,
        thickness_mm=thickness_mm if thickness_mm > 0 else None,
        series=series,
        exact=data if data.dtype == np.float64 else None,
    )
    return to_canonical(scan, observed)


def checksum(path: Path) -> str:
    """Returns the SHA-256 of a file; for a DICOM series one over its files, whatever their names.

    Raises:
        VolumeError: If there is no such series.
    """
    if not holds_dicom(path):
        return sha256(path)
    series = one_series(path)
    with open_container(series.container) as container:
        sums = []
        for name in {plane.file for plane in series.planes}:
            with container.open(name) as file:
                sums.append(hashlib.sha256(file.read()).hexdigest())
    # Parts of one series share their files.
    images = sorted(f"{plane.uid} {plane.frame}" for plane in series.planes)
    return hashlib.sha256("\n".join(sorted(sums) + images).encode()).hexdigest()


def _display_name(path: Path, series: Series) -> str:
    return str(path) if path != series.container else f"{path} (series {series.number})"


def _require_slopes(stack: SliceStack, data: Float[np.ndarray, "i j k"], name: str) -> None:
    """Stops where a slope of 0 hides what some slices hold, while others have one."""
    lacking = [slot for slot, p in zip(stack.slots, stack.planes, strict=True) if p.lacks_slope]
    blank = all(np.ptp(data[:, :, slot]) == 0 for slot in lacking)
    if lacking and len(lacking) < len(stack.planes) and not blank:
        raise VolumeError(
            f"{name}: {len(lacking)} of {len(stack.planes)} slices have a rescale slope of 0",
            hint="export the series again",
        )


def _warnings(stack: SliceStack) -> list[str]:
    warnings = []
    if stack.absent:
        listed = ", ".join(str(slot + 1) for slot in stack.absent[:5])
        more = ", ..." if len(stack.absent) > 5 else ""
        warnings.append(
            f"{len(stack.absent)} of {stack.slots[-1] + 1} slices are not there ({listed}{more}) "
            "and count as missing"
        )
    if all(plane.lacks_slope for plane in stack.planes):
        warnings.append("the rescale slope is 0 or no number: stored numbers are taken as is")
    if stack.straightened_mm > TOLD_MM:
        warnings.append(
            "positions or directions are rounded, which tilts the slices: axes were made "
            f"perpendicular, which moves voxels by up to {stack.straightened_mm:.2g} mm"
        )
    if skew_deg(stack.affine) > 0.1:
        tilt = f"{skew_deg(stack.affine):.1f} degrees"
        warnings.append(f"the slices are tilted against their stack by {tilt}")
    return warnings


def _header(affine: Float64[np.ndarray, "4 4"], shape: tuple[int, ...]) -> Any:
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    set_forms(header, affine, code=1)
    header.set_dim_info(slice=2)
    header.set_xyzt_units("mm")
    return header
