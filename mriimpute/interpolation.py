"""Interpolation along grid lines.

On a slice stack this is interpolation along the slice axis. On any other pattern each grid line
through an unobserved voxel that has observed voxels on both sides proposes a value, and the
proposals are averaged with weights 1 / (length of the gap). A voxel that no line brackets, such
as one beyond the last slice, takes the value of the nearest observed voxel. `nearest` alone looks
at no lines: it takes that value everywhere.

Axes: n = voxels along the interpolated line, l = lines.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32
from numpy.typing import NDArray
from scipy import interpolate, ndimage

from mriimpute.geometry import Stack, find_stack
from mriimpute.volume import Volume

__all__ = ["Kind", "interpolated"]

Kind = Literal["nearest", "linear", "pchip", "makima", "cubic", "bspline"]


def interpolated(volume: Volume, kind: Kind) -> Float32[np.ndarray, "i j k"]:
    """Returns the data with unobserved voxels interpolated and observed ones untouched.

    Args:
        volume: At least one voxel is observed.
        kind: "nearest" (in mm); "linear"; "pchip" (monotone cubic: no overshoot); "makima" (cubic
            with modified Akima slopes: little overshoot); "cubic" (spline with continuous second
            derivative, not-a-knot ends); or "bspline" (the same, level at its ends). On evenly
            spaced slices the last is what SimpleITK's `sitkBSpline` resamples a stack to, which
            mirrors it at its ends; the curve needs no even spacing, so it serves other patterns,
            too. Where a line has two observed voxels only, all of them are linear.
    """
    data, observed = volume.data, volume.observed
    if kind == "nearest":
        return np.where(observed, data, _nearest(volume))

    stack = find_stack(observed)
    if stack is not None and not _holes(observed):
        return _of_stack(data, stack, kind)
    total = np.zeros(data.shape, np.float64)
    weight = np.zeros(data.shape, np.float64)
    for axis in range(3):
        proposal, gap = _along(np.where(observed, data, 0.0), observed, axis, kind)
        bracketed = gap > 0
        weighting = np.where(bracketed, 1.0 / np.where(bracketed, gap, 1.0), 0.0)
        total += weighting * proposal
        weight += weighting

    reached = observed | (weight > 0)
    filled = (total / np.where(weight > 0, weight, 1.0)).astype(np.float32)
    if not reached.all():
        filled = np.where(reached, filled, _nearest(volume))
    return np.where(observed, data, filled)


def _of_stack(
    data: Float32[np.ndarray, "i j k"], stack: Stack, kind: Kind
) -> Float32[np.ndarray, "i j k"]:
    """Returns what the general way does, at a fifth of its cost: all lines are alike."""
    slabs = np.moveaxis(data, stack.axis, 0)
    positions = np.array(stack.positions)
    # Beyond its ends a stack goes on as its last slice does.
    out = slabs[np.clip(np.arange(len(slabs)), positions[0], positions[-1])]
    gaps = np.setdiff1d(np.arange(positions[0], positions[-1]), positions)
    if len(gaps):
        values = slabs[positions].reshape(len(positions), -1).astype(np.float64)
        out[gaps] = _curve(kind, positions, values)(gaps).reshape(len(gaps), *out.shape[1:])
    return np.moveaxis(out, 0, stack.axis)


def _holes(observed: Bool[np.ndarray, "i j k"]) -> bool:
    """Tells whether a slice of the pattern is neither fully observed nor fully missing."""
    return not any(
        (observed.all(axis=others) == observed.any(axis=others)).all()
        for others in ((1, 2), (0, 2), (0, 1))
    )


def _along(
    data: Float[np.ndarray, "i j k"],
    observed: Bool[np.ndarray, "i j k"],
    axis: int,
    kind: Kind,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns proposals along `axis` and the length of the gap each lies in (0: no proposal)."""
    lines = np.moveaxis(data, axis, 0).reshape(data.shape[axis], -1).astype(np.float64)
    seen = np.moveaxis(observed, axis, 0).reshape(lines.shape)
    out = np.zeros_like(lines)

    # Lines with one pattern are interpolated together: a stack has a single pattern.
    _, member = np.unique(np.packbits(seen, axis=0), axis=1, return_inverse=True)
    order = np.argsort(member, kind="stable")
    for group in np.split(order, np.cumsum(np.bincount(member))[:-1]):
        positions = np.flatnonzero(seen[:, group[0]])
        if len(positions) >= 2:
            inside = np.arange(positions[0], positions[-1] + 1)
            values = lines[np.ix_(positions, group)]
            out[np.ix_(inside, group)] = _curve(kind, positions, values)(inside)

    shape = np.moveaxis(data, axis, 0).shape
    gap = _gap_length(seen).reshape(shape)
    return np.moveaxis(out.reshape(shape), 0, axis), np.moveaxis(gap, 0, axis)


def _curve(
    kind: Kind, positions: NDArray[np.intp], values: Float[np.ndarray, "n l"]
) -> Callable[[NDArray[np.intp]], NDArray[np.float64]]:
    if kind == "linear" or len(positions) == 2:
        return interpolate.make_interp_spline(positions, values, k=1, axis=0)
    if kind == "pchip":
        return interpolate.PchipInterpolator(positions, values, axis=0)
    if kind == "makima":
        return interpolate.Akima1DInterpolator(positions, values, axis=0, method="makima")
    if kind == "bspline":
        return interpolate.CubicSpline(positions, values, axis=0, bc_type="clamped")
    if len(positions) == 3:  # a not-a-knot cubic needs four points; three make a parabola
        return interpolate.make_interp_spline(positions, values, k=2, axis=0)
    return interpolate.CubicSpline(positions, values, axis=0)


def _gap_length(seen: Bool[np.ndarray, "n l"]) -> NDArray[np.float64]:
    """Returns, per voxel, the distance from the observed one before to the one after, or 0."""
    index = np.arange(len(seen))[:, None]
    before = np.maximum.accumulate(np.where(seen, index, -1), axis=0)
    after = np.minimum.accumulate(np.where(seen, index, len(seen))[::-1], axis=0)[::-1]
    bracketed = (before >= 0) & (after < len(seen)) & ~seen
    return np.where(bracketed, after - before, 0).astype(np.float64)


def _nearest(volume: Volume) -> Float32[np.ndarray, "i j k"]:
    _, index = ndimage.distance_transform_edt(
        ~volume.observed, sampling=volume.spacing_mm, return_indices=True
    )
    return volume.data[tuple(index)]
