"""Where single precision holds the intensities of a file, and what to do where it does not.

Stored numbers that are scaled are held if each can be told from its neighbours: an error of a
hundredth of their step is none. Numbers that are not scaled are held if no bit of them changes.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64

from mriimpute.errors import VolumeError

__all__ = ["as_single", "in_single", "may_exceed_single", "require_integers", "require_single"]

MAX_ERROR = 0.02
"""Of an intensity, in steps of the stored numbers."""

LARGEST, SMALLEST_STEP = 1e38, 1e-36
"""Intensities and steps between which single precision has its full digits."""

LARGEST_INTEGER = 2**53
"""Beyond it not even double precision holds every integer."""


def may_exceed_single(dtype: np.dtype[Any], slope: float, intercept: float) -> bool:
    """Tells, before numbers are read, whether single precision may not hold their intensities.

    Example:
        >>> may_exceed_single(np.dtype("int16"), 0.1, 0.0)
        False
        >>> may_exceed_single(np.dtype("int32"), 1.0, 0.0)
        True
    """
    is_scaled = (slope, intercept) != (1.0, 0.0)
    if dtype.kind == "f":
        return dtype.itemsize > 4 or is_scaled
    limits = np.iinfo(dtype)
    largest = float(max(-limits.min, limits.max))
    if not is_scaled:
        return largest > 2**24
    step, reach = abs(slope), abs(slope) * largest + abs(intercept)
    return reach * 2**-24 > MAX_ERROR * step or reach > LARGEST or step < SMALLEST_STEP


def in_single(
    values: Float64[np.ndarray, "*shape"], step: float | None
) -> Float[np.ndarray, "*shape"]:
    """Returns intensities in single precision where that holds them, else as they are.

    Args:
        values: Not finite where they are missing.
        step: Between stored numbers; None: they are no integers that were scaled.
    """
    single = as_single(values)
    with np.errstate(invalid="ignore"):
        error = np.abs(single.astype(np.float64) - values)
    error = error[np.isfinite(values)]
    return (
        single if error.max(initial=0.0) <= (0.0 if step is None else MAX_ERROR * step) else values
    )


def as_single(values: Float[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """Returns values in single precision; what is too large is infinite, without a word."""
    with np.errstate(over="ignore", under="ignore"):
        return values.astype(np.float32, copy=False)


def require_integers(stored: Any, path: Path) -> None:
    """Stops where double precision, too, would change an integer.

    Raises:
        VolumeError: If so.
    """
    if stored.dtype.kind in "iu" and stored.dtype.itemsize == 8 and stored.size:
        largest = max(abs(int(stored.min())), abs(int(stored.max())))
        if largest > LARGEST_INTEGER:
            raise VolumeError(
                f"{path} holds integers up to {largest}, which no floating-point number can hold",
                hint="subtract a constant from them first",
            )


def require_single(exact: Float64[np.ndarray, "i j k"] | None, path: Path) -> str | None:
    """Returns what to know of intensities that are used in single precision.

    Raises:
        VolumeError: If some are too large for it.
    """
    if exact is None:
        return None
    values = exact[np.isfinite(exact)]
    largest = float(np.abs(values).max(initial=0.0))
    if largest > float(np.finfo(np.float32).max):
        raise VolumeError(
            f"{path} holds values up to {largest:.3g}, too large for single precision",
            hint="divide them by a constant first",
        )
    changed = float(np.abs(values.astype(np.float32) - values).max(initial=0.0))
    contrast = float(np.ptp(values)) if values.size else 0.0
    if changed <= 1e-3 * contrast:
        return None
    return f"single precision changes its values by up to {changed:.2g} of {contrast:.2g} in all"
