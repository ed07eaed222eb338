"""What a scan is, as plain values: the content of `mriimpute inspect`."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mriimpute.cohort.target_grid import (
    DIRECTIONS,
    AxisSource,
    axis_name,
    axis_source,
    axis_warning,
    refinement,
)
from mriimpute.geometry import (
    Affine,
    find_stack,
    obliquity_deg,
    plane_distance_mm,
    skew_deg,
    slice_step,
    spacing_mm,
)
from mriimpute.io import Scan, held_otherwise, stem
from mriimpute.io.image_file import has_ending

__all__ = ["inspection", "sidecar_thickness_mm", "stated_thickness_mm"]

THICKEST_MM = 1e6
"""What a sidecar states beyond this, or an integer of 400 digits, is no thickness."""


def inspection(scan: Scan) -> dict[str, Any]:
    """Returns the properties of a scan that decide how it is imputed, ready for JSON.

    Lengths are in mm, angles in degrees. Axes are those of the file. Values that nothing says
    are None: NIfTI has no field for slice thickness, DICOM and a BIDS sidecar have.
    """
    affine, shape = scan.stored_affine, list(scan.stored_shape)
    canonical_axis, factor = refinement(scan.volume, slice_axis=scan.slice_axis)
    stack = find_stack(scan.volume.observed) if factor == 1 else None
    canonical_axis = canonical_axis if stack is None else stack.axis
    axis = int(np.flatnonzero(scan.orientation[:, 0] == canonical_axis)[0])
    spacing = spacing_mm(affine).tolist()
    fine_shape, fine_spacing = shape.copy(), spacing.copy()
    fine_shape[axis] = factor * (shape[axis] - 1) + 1
    fine_spacing[axis] /= factor
    observed = int(scan.volume.observed.sum())
    return {
        "file": scan.path.name,
        "shape": shape,
        "spacing_mm": _rounded(spacing),
        "orientation": scan.axis_codes,
        "obliquity_deg": round(obliquity_deg(affine), 3),
        **_slices(scan, canonical_axis, axis_source(scan, canonical_axis, factor)),
        "factor": factor,
        "imputed_shape": fine_shape,
        "imputed_spacing_mm": _rounded(fine_spacing),
        "missing_share": round(1 - observed / int(np.prod(fine_shape)), 6),
        "nan_voxels": int((~np.isfinite(scan.values)).sum()),
        "intensity": _levels(scan),
        "stored_as": scan.dtype,
        "slope": scan.slope,
        "intercept": scan.intercept,
        "qform_code": int(scan.header["qform_code"]),
        "sform_code": int(scan.header["sform_code"]),
        "affine": affine.tolist(),
        "warnings": [*scan.warnings, *_warnings(affine, factor, scan)],
    }


def _slices(scan: Scan, axis: int, source: AxisSource) -> dict[str, Any]:
    thickness = stated_thickness_mm(scan)
    if source == "none":
        names = ("axis", "axis_from", "direction", "spacing_mm", "thickness_mm", "gap_mm")
        return dict.fromkeys(f"slice_{name}" for name in names) | {"slice_thickness_mm": thickness}
    # Slices that are tilted against their stack lie closer than their centres do.
    step = slice_step(scan.volume.observed, axis)
    spacing = step * plane_distance_mm(scan.volume.affine, axis)
    return {
        "slice_axis": "ijk"[scan.stored_axis(axis)],
        "slice_axis_from": source,
        "slice_direction": DIRECTIONS[axis],
        "slice_spacing_mm": round(spacing, 4),
        "slice_thickness_mm": thickness,
        "slice_gap_mm": None if thickness is None else round(spacing - thickness, 4),
    }


def _levels(scan: Scan) -> dict[str, float]:
    values = scan.values
    values = values[np.isfinite(values)]
    low, median, high = np.percentile(values, [1, 50, 99]).tolist()
    return {
        "min": float(values.min()),
        "percentile_1": low,
        "median": median,
        "percentile_99": high,
        "max": float(values.max()),
    }


def _warnings(affine: Affine, factor: int, scan: Scan) -> list[str]:
    notes = [note] if (note := axis_warning(scan)) else []
    told = any("perpendicular" in warning for warning in scan.warnings)
    if skew_deg(affine) > 0.1 and not told:
        notes.append(f"the axes are not perpendicular: off by {skew_deg(affine):.1f} degrees")
    if factor == 1 and scan.volume.observed.all():
        where = "no axis is coarser than the others"
        if scan.slice_axis is not None:
            where = f"slices along {axis_name(scan, scan.slice_axis)} are no coarser than pixels"
        notes.append(f"nothing is missing: {where}, no voxel is NaN")
    if held := held_otherwise(scan):
        notes.append(f"it holds no intensities but {held}")
    if factor > 12:
        notes.append(f"{factor - 1} slices are missing between two acquired ones")
    values = scan.values
    if np.ptp(values[np.isfinite(values)]) == 0:
        notes.append("every voxel has the same value")
    return notes


def stated_thickness_mm(scan: Scan) -> float | None:
    """Returns the slice thickness that a DICOM header, or the BIDS sidecar of an image, states."""
    return sidecar_thickness_mm(scan.path) if scan.thickness_mm is None else scan.thickness_mm


def sidecar_thickness_mm(path: Path) -> float | None:
    """Returns the slice thickness that the BIDS sidecar of an image states, if there is one."""
    if not has_ending(path):  # what has no file has none beside it either
        return None
    sidecar = path.with_name(f"{stem(path)}.json")
    try:
        thickness = json.loads(sidecar.read_text(encoding="utf-8"))["SliceThickness"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    usable = isinstance(thickness, int | float) and 0 < thickness < THICKEST_MM
    return float(thickness) if usable else None


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 4) for value in values]
