"""From images in any order to a stack on a regular grid: slices are sorted by where they lie.

Directions and positions of DICOM are towards left, posterior, superior.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from mriimpute.errors import GeometryError
from mriimpute.geometry import corner_distance_mm
from mriimpute.io.dicom.planes import Plane
from mriimpute.io.dicom.rounding import last_digit, straightened

__all__ = ["LPS_TO_RAS", "SAME_MM", "SliceStack", "to_stack"]

MAX_OFFSET = 0.02
"""Fraction of the spacing that a slice may lie off its place on the grid: headers round."""

MAX_ROUNDED_OFFSET = 0.2
"""The same, where the digits of the header explain it."""

SAME_DIRECTION = 1e-3
"""Difference of direction cosines that is rounding."""

SAME_MM = 1e-3
"""Distance along the normal below which two images lie at one place."""

MANY = 6
"""Images at one place that come of a time series rather than of copies."""

STRAIGHT_MM = 1e-5
"""How far voxels may be from where perpendicular axes put them."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

Vector = Float64[np.ndarray, " 3"]


@dataclass(frozen=True, slots=True, eq=False)
class SliceStack:
    """Images on a regular grid: axis i along a row, j down a column, k along the normal.

    Attributes:
        planes: By increasing position along the normal.
        slots: Index along k of each; an index left out is a slice that is not there.
        affine: From (i, j, k) to mm right, anterior, superior.
        straightened_mm: How far voxels were moved to undo a shear that is rounding.
    """

    planes: tuple[Plane, ...]
    slots: tuple[int, ...]
    affine: Float64[np.ndarray, "4 4"]
    straightened_mm: float = 0.0

    @property
    def absent(self) -> tuple[int, ...]:
        """Indices along k that no image has."""
        return tuple(sorted(set(range(self.slots[-1] + 1)) - set(self.slots)))


def to_stack(planes: Sequence[Plane], name: str) -> SliceStack:
    """Returns the images sorted along their normal, on a regular grid.

    A step that is a multiple of the others is taken for slices that are not there.

    Args:
        planes: Of one series.
        name: Of the series, for messages.

    Raises:
        GeometryError: If they are no stack of parallel, evenly spaced slices.
    """
    first = planes[0]
    across, down, normal = _directions(planes, name)
    positions = np.array([plane.position for plane in planes])
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    digit = last_digit(positions.ravel().tolist())
    slots = _slots(along[order], planes, name, rounding_mm=digit * float(np.abs(normal).sum()))

    step = (positions[order[-1]] - positions[order[0]]) / slots[-1]
    expected = positions[order[0]] + np.outer(slots, step)
    # Slices that shift along themselves with every step give a sheared grid, others none.
    stray = np.linalg.norm(positions[order] - expected, axis=1).max()
    allowed = MAX_OFFSET * max(float(np.linalg.norm(step)), *first.spacing_mm)
    if stray > max(allowed, min(digit * np.sqrt(3), MAX_ROUNDED_OFFSET * np.linalg.norm(step))):
        raise GeometryError(
            f"{name}: slices are shifted against each other by up to {stray:.3g} mm",
            hint="resample them onto a straight stack first",
        )
    lps = np.eye(4)
    lps[:3, 0] = across * first.spacing_mm[1]
    lps[:3, 1] = down * first.spacing_mm[0]
    lps[:3, 2] = step
    lps[:3, 3] = positions[order[0]]
    rows, columns = first.shape
    shape = (columns, rows, int(slots[-1]) + 1)
    directions = np.array([plane.directions for plane in planes])
    straight = straightened(lps, shape, position_digit=digit, directions=directions)
    moved_mm = 0.0 if straight is None else corner_distance_mm(lps, straight, shape)
    if straight is None or moved_mm < STRAIGHT_MM:
        straight, moved_mm = lps, 0.0
    return SliceStack(
        tuple(planes[int(n)] for n in order),
        tuple(int(s) for s in slots),
        LPS_TO_RAS @ straight,
        moved_mm,
    )


def _directions(planes: Sequence[Plane], name: str) -> tuple[Vector, Vector, Vector]:
    for what, why in (
        ("position", "an image position"),
        ("directions", "an image orientation"),
        ("spacing_mm", "a pixel spacing"),
    ):
        lacking = sum(not getattr(plane, what) for plane in planes)
        if lacking:
            raise GeometryError(
                f"{name}: {lacking} of {len(planes)} images lack {why}",
                hint="export the series again from the scanner or the archive",
            )
    if len(planes) < 2:
        raise GeometryError(f"{name} is a single slice", hint="pass the folder with all slices")

    directions = np.array([plane.directions for plane in planes])
    count = _count_distinct(directions)
    if count > 1:
        raise GeometryError(
            f"{name}: its {len(planes)} slices have {count} orientations, as in a localizer",
            hint="pass a series of parallel slices",
        )
    if len({plane.shape for plane in planes}) > 1 or np.ptp(
        [plane.spacing_mm for plane in planes], axis=0
    ).max() > 1e-3 * min(planes[0].spacing_mm):
        raise GeometryError(
            f"{name}: its slices have different sizes or pixel spacings",
            hint="pass a series of equal slices",
        )
    across, down = directions[0, :3], directions[0, 3:]
    lengths = np.linalg.norm(across), np.linalg.norm(down)
    usable = np.allclose(lengths, 1, atol=1e-2) and abs(across @ down) < 1e-2
    if not usable or min(planes[0].spacing_mm) <= 0:
        raise GeometryError(
            f"{name}: rows and columns are not perpendicular, or have no length",
            hint="export the series again from the scanner or the archive",
        )
    normal = np.cross(across, down)
    return across / lengths[0], down / lengths[1], normal / np.linalg.norm(normal)


def _count_distinct(directions: Float64[np.ndarray, "n 6"]) -> int:
    """Returns how many different orientations there are."""
    kinds: list[Float64[np.ndarray, " 6"]] = []
    for direction in directions:
        if not any(np.abs(direction - kind).max() < SAME_DIRECTION for kind in kinds):
            kinds.append(direction)
    return len(kinds)


def _slots(
    along: Float64[np.ndarray, " n"], planes: Sequence[Plane], name: str, *, rounding_mm: float
) -> Float64[np.ndarray, " n"]:
    """Returns the index of each slice on an even grid, from sorted positions in mm."""
    steps = np.diff(along)
    if steps.min() < SAME_MM:
        largest = max(Counter(np.round(along / SAME_MM / 2)).values())
        known = ", as in a time series," if largest >= MANY else ""
        raise GeometryError(
            f"{name}: up to {largest} images lie at one place{known} and nothing tells them apart",
            hint="export only one image for each place",
        )
    base = float(np.mean(steps[steps < 1.5 * steps.min()]))
    slots = np.round((along - along[0]) / base)
    base = (along[-1] - along[0]) / slots[-1]  # rounded steps add up over a long stack
    slots = np.round((along - along[0]) / base)
    off = np.abs((along - along[0]) / base - slots).max()
    absent = slots[-1] + 1 - len(along)
    allowed = max(MAX_OFFSET, min(rounding_mm / base, MAX_ROUNDED_OFFSET))
    if off > allowed or absent >= len(along) or (np.diff(slots) < 1).any():
        raise GeometryError(
            f"{name}: slices are unevenly spaced, {steps.min():.4g} to {steps.max():.4g} mm apart",
            hint="look for slices that were not exported; pass an evenly spaced series",
        )
    return slots
