"""Intensities that single precision cannot hold, or whose squares it cannot, coded for methods.

Methods compute in single precision, and f(a y + b) = a f(y) + b. So they are given

    x = (y / 2^first - offset) / 2^second

which is of the order of 1, and what they return is taken back in double precision. Without an
offset both ways are exact, as only exponents change. Acquired voxels are never taken back: they
are put where they were.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64

from mriimpute.cohort.target_grid import TargetGrid
from mriimpute.io import Scan
from mriimpute.methods.base import Imputation

__all__ = ["PLAIN", "Coding", "coded", "coding_of", "restored"]

ORDINARY = 40
"""Binary exponents, up and down, between which squares and their sums are ordinary numbers."""

MAX_LOSS = 1e-5
"""Of the contrast, that single precision may change before an offset is taken off."""


@dataclass(frozen=True, slots=True)
class Coding:
    """Takes intensities to those that methods are given, and back.

    Attributes:
        first: Binary exponent.
        offset: Of intensities over 2^first.
        second: Binary exponent.
    """

    first: int = 0
    offset: float = 0.0
    second: int = 0

    def code(self, values: Float[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
        """Returns what methods are given."""
        x = np.ldexp(values.astype(np.float64), -self.first) - self.offset
        return np.ldexp(x, -self.second).astype(np.float32)

    def code_difference(
        self, values: Float[np.ndarray, "*shape"]
    ) -> Float32[np.ndarray, "*shape"]:
        """Returns differences, such as a standard deviation, as methods are given them."""
        difference = np.ldexp(values.astype(np.float64), -self.first - self.second)
        return difference.astype(np.float32)

    def decode(self, x: Float[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
        """Returns intensities."""
        with np.errstate(over="ignore"):
            inner = np.ldexp(x.astype(np.float64), self.second) + self.offset
            return np.ldexp(inner, self.first)

    def decode_difference(self, x: Float[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
        """Returns differences of intensities, such as a standard deviation."""
        with np.errstate(over="ignore"):
            return np.ldexp(x.astype(np.float64), self.first + self.second)


PLAIN = Coding()


def coding_of(values: Float[np.ndarray, " n"]) -> Coding:
    """Returns how finite intensities are coded; `PLAIN` where they may stay as they are."""
    coding = _by_exponent(float(values.min(initial=0.0)), float(values.max(initial=0.0)))
    exponent = int(np.frexp(np.abs(values).max(initial=0.0))[1])
    scaled = np.ldexp(values.astype(np.float64), -exponent)
    low, high = float(scaled.min()), float(scaled.max())
    loss = float(np.abs(scaled.astype(np.float32) - scaled).max())
    if loss > MAX_LOSS * (high - low) > 0:
        middle = (low + high) / 2
        return Coding(exponent, middle, int(np.frexp(high - middle)[1]))
    return coding


def _by_exponent(low: float, high: float) -> Coding:
    """Returns the coding of intensities between two that needs no offset."""
    exponent = int(np.frexp(max(-low, high))[1])
    return Coding(exponent) if abs(exponent) > ORDINARY else PLAIN


def coded(scan: Scan) -> tuple[Scan, Coding]:
    """Returns a scan as methods are given it, and how it was coded."""
    values, seen = scan.values, scan.volume.observed
    if scan.exact is None:  # nothing is lost, so no copy is needed to find out
        low, high = (f(values, where=seen, initial=0.0) for f in (np.min, np.max))
        coding = _by_exponent(float(low), float(high))
    else:
        coding = coding_of(values[seen])
    if coding == PLAIN:
        return scan, coding
    data = np.where(seen, coding.code(np.where(seen, values, 0)), np.float32(np.nan))
    return replace(scan, volume=replace(scan.volume, data=data)), coding


def restored(imputation: Imputation, scan: Scan, grid: TargetGrid, coding: Coding) -> Imputation:
    """Returns an imputation in the units of the scan, its acquired voxels those of the file.

    Args:
        imputation: Of the coded scan.
        scan: As read, not coded.
        grid: That was imputed.
        coding: Of the scan.
    """
    if coding == PLAIN and scan.exact is None:
        return imputation
    acquired = tuple(slice(None, None, grid.factor if n == grid.axis else 1) for n in range(3))
    values = scan.values

    def image(x: Float32[np.ndarray, "i j k"]) -> Float[np.ndarray, "i j k"]:
        decoded = _narrowed(coding.decode(x), values.dtype)
        decoded[acquired] = np.where(scan.volume.observed, values, decoded[acquired])
        return decoded

    std, draw = imputation.std, imputation.draw
    if std is not None and coding != PLAIN:
        std = _narrowed(coding.decode_difference(std), values.dtype)
    return replace(
        imputation,
        mean=image(imputation.mean),
        std=std,
        draw=None if draw is None else lambda number: image(draw(number)),
    )


def _narrowed(
    values: Float64[np.ndarray, "i j k"], dtype: np.dtype[Any]
) -> Float[np.ndarray, "i j k"]:
    with np.errstate(over="ignore", under="ignore"):
        return values.astype(dtype, copy=False)
