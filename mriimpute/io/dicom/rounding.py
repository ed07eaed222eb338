"""What the digits of a header leave open: positions and directions are decimal texts, and rounded.

Positions to 0.1 mm shear a stack by hundredths of a degree, which no scanner did and ITK refuses.
"""

import math
from collections.abc import Iterable
from decimal import Decimal

import numpy as np
from jaxtyping import Float64

from mriimpute.geometry import Affine, orthonormal

__all__ = ["last_digit", "straightened"]

EXACT = (0.0, 1.0, -1.0)
"""Direction cosines that say nothing about how many digits others would have."""

ARITHMETIC_MM = 1e-3
"""Error of positions that went through single precision, over a whole stack."""

ARITHMETIC = 1e-6
"""Error of direction cosines that did."""

MAX_ROUNDED = math.sin(math.radians(2.0))
"""Of a shear: one that is larger is a tilt, whatever the digits."""


def last_digit(values: Iterable[float]) -> float:
    """Returns the worth of the last digit that numbers are written with.

    Texts have a number of decimals in common, or a number of digits; zeros at the end are lost.

    Example:
        >>> last_digit([-120.3, 33.4, 5.0]), last_digit([-119.766, 3.45678])
        (0.1, 0.001)
    """
    numbers = [float(value) for value in values if value != 0]
    single = all(float(np.float32(number)) == number for number in numbers)
    written = [Decimal(str(np.float32(number) if single else number)) for number in numbers]
    parts = [number.normalize().as_tuple() for number in written]
    if not parts:
        return 0.0
    smallest = min(int(part.exponent) for part in parts)
    digits = max(len(part.digits) for part in parts)
    largest = max(number.adjusted() for number in written)
    return float(Decimal(10) ** max(smallest, largest + 1 - digits))


def straightened(
    lps: Affine,
    shape: tuple[int, int, int],
    *,
    position_digit: float,
    directions: Float64[np.ndarray, "n 6"],
) -> Affine | None:
    """Returns the stack with perpendicular axes, if but for the digits of its header it had them.

    Whatever is written with more digits, directions or positions, keeps its direction.

    Args:
        lps: Of the stack: along a row, down a column, from slice to slice.
        shape: Of the stack.
        position_digit: Worth of the last digit of positions, in mm.
        directions: Of each image, along a row and down a column.

    Returns:
        None where a shear is larger than digits explain.
    """
    digit = last_digit(value for value in directions.ravel() if value not in EXACT)
    across, down = (lps[:3, axis] / np.linalg.norm(lps[:3, axis]) for axis in (0, 1))
    stack = lps[:3, 2] * (shape[2] - 1)
    length, extent = float(np.linalg.norm(stack)), float(np.abs(stack).sum())
    for axis in (across, down):
        # Half a digit of each component, at both ends of the stack and in the direction itself.
        rounding = position_digit * float(np.abs(axis).sum()) + digit / 2 * extent
        if abs(stack @ axis) > min(rounding + ARITHMETIC_MM, MAX_ROUNDED * length):
            return None
    in_plane = digit / 2 * float(np.abs([across, down]).sum())
    if abs(across @ down) > min(in_plane + ARITHMETIC, MAX_ROUNDED):
        return None
    keeps_plane = digit / 2 <= position_digit / length
    normal = np.cross(across, down)
    return orthonormal(lps, normal if keeps_plane else lps[:3, 2], shape)
