"""Grids, frames and resampling in millimetres: pure functions on float64 affines.

Voxel indices are `ijk`, world coordinates are `ras` (mm right, anterior, superior). An affine
takes ijk to ras. Nothing here reads a file or knows a scan.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64
from numpy.typing import NDArray
from scipy import ndimage

__all__ = [
    "ANY_DIRECTION",
    "Affine",
    "Cosines",
    "Stack",
    "centred_grid",
    "corner_distance_mm",
    "find_stack",
    "grids_agree",
    "inside_grid",
    "is_invertible",
    "obliquity_deg",
    "orthonormal",
    "plane_distance_mm",
    "refined",
    "resample",
    "rotation",
    "skew_deg",
    "slice_step",
    "spacing_mm",
    "spanned",
    "squared_cosines",
    "transform",
]

Affine = Float64[np.ndarray, "4 4"]

Cosines = tuple[float, float, float]
"""Squares of the cosines of the angles between a line and the axes R, A and S: they add up to 1,
and are the same for a line that runs the other way."""

ANY_DIRECTION: Cosines = (1 / 3, 1 / 3, 1 / 3)
"""Of a line of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Parallel acquired slices inside a grid.

    Attributes:
        axis: The grid axis (0, 1 or 2) along which slices were skipped.
        positions: Indices of the acquired slices along `axis`, increasing, at least two.
    """

    axis: int
    positions: tuple[int, ...]

    @property
    def gaps(self) -> tuple[int, ...]:
        """Steps from each acquired slice to the next, in voxels."""
        return tuple(b - a for a, b in zip(self.positions, self.positions[1:], strict=False))


def spacing_mm(affine: Affine) -> Float64[np.ndarray, " 3"]:
    """Returns the distance between neighbouring voxel centres along each axis, in mm."""
    return np.linalg.norm(affine[:3, :3], axis=0)


def plane_distance_mm(affine: Affine, axis: int) -> float:
    """Returns the distance between neighbouring slices across an axis, along their normal, in mm.

    It is the spacing along the axis, but for slices that are tilted against their stack.

    Example:
        >>> tilted = np.array([[1.0, 0, 0, 0], [0, 1, 3, 0], [0, 0, 4, 0], [0, 0, 0, 1]])
        >>> float(spacing_mm(tilted)[2]), plane_distance_mm(tilted, 2)
        (5.0, 4.0)
    """
    first, second = (affine[:3, a] for a in range(3) if a != axis)
    normal = np.cross(first, second)
    return float(abs(affine[:3, axis] @ normal) / np.linalg.norm(normal))


def transform(affine: Affine, points: Float64[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n 3"]:
    """Returns `points` taken through `affine`.

    Example:
        >>> transform(np.diag([2.0, 2.0, 2.0, 1.0]), np.array([[1.0, 2.0, 3.0]])).tolist()
        [[2.0, 4.0, 6.0]]
    """
    return points @ affine[:3, :3].T + affine[:3, 3]


def rotation(angles_deg: tuple[float, float, float]) -> Float64[np.ndarray, "3 3"]:
    """Returns the rotation about R, then A, then S, by angles in degrees, right-handed."""
    from scipy.spatial.transform import Rotation

    matrix: Float64[np.ndarray, "3 3"] = Rotation.from_euler(
        "xyz", angles_deg, degrees=True
    ).as_matrix()
    return matrix


def obliquity_deg(affine: Affine) -> float:
    """Returns the largest angle between a grid axis and its nearest anatomical axis, in degrees.

    Example:
        >>> obliquity_deg(np.diag([-1.0, 1.0, 6.0, 1.0]))
        0.0
    """
    cosines = np.abs(affine[:3, :3] / spacing_mm(affine)).max(axis=0)
    return float(np.degrees(np.arccos(np.clip(cosines, 0.0, 1.0))).max())


def skew_deg(affine: Affine) -> float:
    """Returns how far the grid axes are from perpendicular to each other, in degrees.

    Example:
        >>> skew_deg(np.diag([1.0, 1.0, 6.0, 1.0]))
        0.0
    """
    axes = affine[:3, :3] / spacing_mm(affine)
    cosines = np.abs(axes.T @ axes)[np.triu_indices(3, 1)]
    return float(np.degrees(np.arcsin(np.clip(cosines, 0.0, 1.0))).max())


def squared_cosines(step: Float64[np.ndarray, " 3"]) -> Cosines:
    """Returns which way a step leads through the head.

    Args:
        step: Towards right, anterior, superior; of any length above 0.

    Example:
        >>> squared_cosines(np.array([0.0, -3.0, 4.0]))
        (0.0, 0.36, 0.64)
    """
    r, a, s = (np.square(step) / np.square(step).sum()).tolist()
    return r, a, s


def orthonormal(
    affine: Affine, normal: Float64[np.ndarray, " 3"], shape: tuple[int, int, int]
) -> Affine:
    """Returns an affine with perpendicular axes, the last of which lies along `normal`.

    Spacings stay, the others turn as little as possible, and so does the middle of the grid.

    Args:
        affine: Whose last axis points to the same side as `normal`.
        normal: Of any length.
        shape: Of the grid.

    Example:
        >>> sheared = np.array([[1.0, 0, 0, 0], [0, 1, 3, 0], [0, 0, 4, 0], [0, 0, 0, 1]])
        >>> orthonormal(sheared, np.array([0.0, 0, 1]), (2, 2, 3))[:3, 2:].tolist()
        [[0.0, 0.0], [0.0, 3.0], [5.0, -1.0]]
    """
    unit = normal / np.linalg.norm(normal)
    plane = affine[:3, :2] / spacing_mm(affine)[:2]
    left, _, right = np.linalg.svd(plane - np.outer(unit, unit @ plane), full_matrices=False)
    straight = affine.copy()
    straight[:3, :3] = np.column_stack([left @ right, unit]) * spacing_mm(affine)
    middle = (np.asarray(shape) - 1) / 2
    straight[:3, 3] += transform(affine, middle) - transform(straight, middle)
    return straight


def centred_grid(
    shape: tuple[int, int, int],
    *,
    spacing: tuple[float, float, float],
    centre_ras: Float64[np.ndarray, " 3"],
    axes: Float64[np.ndarray, "3 3"],
) -> Affine:
    """Returns the affine of a grid whose middle lies at `centre_ras`.

    Args:
        shape: Voxels along each axis.
        spacing: Between voxel centres along each axis, in mm.
        centre_ras: In mm.
        axes: Unit vectors of the grid axes in its columns.
    """
    affine = np.eye(4)
    affine[:3, :3] = axes * np.asarray(spacing)
    affine[:3, 3] = centre_ras - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return affine


def is_invertible(affine: Affine) -> bool:
    """Tells whether an affine is finite and its axes span space.

    Example:
        >>> is_invertible(np.diag([1.0, 1.0, 0.0, 1.0]))
        False
    """
    if not np.isfinite(affine).all() or (spacing_mm(affine) == 0).any():
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / spacing_mm(affine))) > 1e-6)


def refined(affine: Affine, axis: int, factor: int) -> Affine:
    """Returns the affine of the grid with `factor` voxels for each one along `axis`.

    Voxel n of the coarse grid is voxel `factor * n` of the fine one, so the origin stays.
    """
    fine = affine.copy()
    fine[:3, axis] /= factor
    return fine


def find_stack(observed: Bool[np.ndarray, "i j k"]) -> Stack | None:
    """Returns the slice stack that `observed` consists of, or None.

    A stack is a set of at least two slices along one axis, at least one of them skipped between
    the first and the last, outside of which nothing was acquired. Slices need not be equally
    spaced nor be complete (a slice may have holes). Where two axes qualify, the one that skips
    more wins.
    """
    candidates = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        positions = np.flatnonzero(observed.any(axis=others))
        if len(positions) >= 2 and positions[-1] - positions[0] >= len(positions):
            skipped = 1 - len(positions) / (positions[-1] - positions[0] + 1)
            candidates.append((skipped, -axis, tuple(int(p) for p in positions)))
    if not candidates:
        return None

    _, negated, indices = max(candidates)
    return Stack(-negated, indices)


def slice_step(observed: Bool[np.ndarray, "i j k"], axis: int, *, otherwise: int = 1) -> float:
    """Returns from how many slices along `axis` one was acquired, where that varies the median.

    Example:
        >>> observed = np.zeros((4, 4, 13), bool)
        >>> observed[:, :, ::6] = True
        >>> slice_step(observed, 2)
        6.0
    """
    stack = find_stack(observed)
    if stack is None or stack.axis != axis:
        return float(otherwise)
    return float(np.median(stack.gaps))


def spanned(stack: Stack | None, shape: tuple[int, int, int]) -> Bool[np.ndarray, "i j k"]:
    """Returns where imputing is no extrapolation: from the first to the last acquired slice.

    Everywhere if what is missing are no slices.
    """
    if stack is None:
        return np.ones(shape, bool)
    between = np.zeros(shape, bool)
    np.moveaxis(between, stack.axis, 0)[stack.positions[0] : stack.positions[-1] + 1] = True
    return between


def inside_grid(
    inner: Affine,
    inner_shape: tuple[int, int, int],
    outer: Affine,
    outer_shape: tuple[int, int, int],
    *,
    tolerance_mm: float,
) -> tuple[slice, slice, slice] | None:
    """Returns which voxels of the outer grid are those of the inner one; None if there are none.

    Example:
        >>> moved = np.array([[1.0, 0, 0, 2], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        >>> inside_grid(moved, (3, 4, 4), np.eye(4), (5, 4, 4), tolerance_mm=0.01)
        (slice(2, 5, None), slice(0, 4, None), slice(0, 4, None))
        >>> inside_grid(moved, (4, 4, 4), np.eye(4), (5, 4, 4), tolerance_mm=0.01) is None
        True
    """
    start = np.rint(transform(np.linalg.inv(outer), inner[:3, 3])).astype(int)
    stop = start + inner_shape
    moved = outer.copy()
    moved[:3, 3] = transform(outer, start.astype(np.float64))
    fits = (start >= 0).all() and (stop <= outer_shape).all()
    if not fits or not grids_agree(moved, inner, inner_shape, tolerance_mm=tolerance_mm):
        return None
    i, j, k = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    return i, j, k


def grids_agree(
    first: Affine,
    second: Affine,
    shape: tuple[int, int, int],
    *,
    tolerance_mm: float = 1e-3,
) -> bool:
    """Tells whether two affines put every corner of a grid at the same place."""
    return corner_distance_mm(first, second, shape) <= tolerance_mm


def corner_distance_mm(first: Affine, second: Affine, shape: tuple[int, int, int]) -> float:
    """Returns how far two affines put a corner of a grid apart, at most, in mm."""
    corners = np.array(np.meshgrid(*[[0.0, n - 1.0] for n in shape])).reshape(3, -1).T
    distance = np.linalg.norm(transform(first, corners) - transform(second, corners), axis=-1)
    return float(distance.max())


def resample(
    data: Float[np.ndarray, "i j k"],
    affine: Affine,
    *,
    to_shape: tuple[int, int, int],
    to_affine: Affine,
    order: int = 3,
    fill: float = 0.0,
    is_filtered: bool = False,
) -> Float32[np.ndarray, "i2 j2 k2"]:
    """Returns `data` on another grid, by one interpolation.

    Args:
        data: Intensities; finite.
        affine: Of `data`.
        to_shape: Voxels of the new grid.
        to_affine: Of the new grid. For a moved head, compose the motion into it:
            `head_to_source @ to_affine`.
        order: Of the B-spline: 0 nearest, 1 linear, 3 cubic.
        fill: Value outside of the field of view.
        is_filtered: Whether `data` are coefficients of that spline already, as
            `scipy.ndimage.spline_filter` makes them: of use where one image goes onto many grids.
    """
    index = np.linalg.inv(affine) @ to_affine
    image: NDArray[np.float32] = ndimage.affine_transform(
        data if is_filtered else data.astype(np.float32, copy=False),
        index[:3, :3],
        index[:3, 3],
        output_shape=to_shape,
        output=np.float32,
        order=order,
        mode="mirror",
        prefilter=not is_filtered,
    )
    # Not mode="constant": rounding puts voxels of an outermost slice 1e-16 outside, and it would
    # replace them by the fill value.
    image[~_inside(index, data.shape, to_shape)] = fill
    return image


def _inside(
    index: Affine, shape: tuple[int, ...], to_shape: tuple[int, int, int]
) -> Bool[np.ndarray, "i2 j2 k2"]:
    """Tells which voxels of the new grid lie between the outermost centres of the old one."""
    inside = np.ones(to_shape, dtype=bool)
    i, j, k = np.ogrid[: to_shape[0], : to_shape[1], : to_shape[2]]
    for row, size in zip(index[:3], shape, strict=True):
        position = row[0] * i + row[1] * j + row[2] * k + row[3]
        inside &= (position >= -1e-6) & (position <= size - 1 + 1e-6)
    return inside
