"""Which classes of local structure a window belongs to, and to what share.

A window has an orientation, a coherence and a strength, from its structure tensor. Between two
classes the share goes over from one to the other in a narrow band, for a hard limit would let
rounding decide: a prediction would jump where an intensity changes in its last digit, as it does
when a scan is multiplied or shifted. For the same reason a window without direction belongs to all
orientations alike, and one without contrast to all classes alike.

Axes: n = images, c = columns, m = windows, k = classes, w = pixels of a line of the window.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float, Float32, Int
from numpy.typing import NDArray

__all__ = ["Share", "Structure", "pooled", "ramp", "shares_of", "spread_out"]

STRENGTH_BAND, COHERENCE_BAND, ANGLE_BAND = 0.03, 0.02, 0.1
"""Half widths of bands between classes: relative, of coherence, and of a class of orientation."""

UNDIRECTED = (0.02, 0.06)
"""Coherence below which a window has no orientation, and above which it has."""

BLANK = (0.005, 0.01)
"""Strength below which a window has no structure, and above which it has."""


@dataclass(frozen=True, slots=True)
class Structure:
    """How many classes there are of each kind.

    Attributes:
        angles: Of orientation.
        coherence: Limits between classes of coherence.
        strength: Limits between classes of strength.
    """

    angles: int
    coherence: tuple[float, ...]
    strength: tuple[float, ...]

    @property
    def classes(self) -> int:
        """Number of classes, each an orientation, a coherence and a strength."""
        return self.angles * (len(self.coherence) + 1) * (len(self.strength) + 1)

    @property
    def pools(self) -> list[NDArray[np.intp]]:
        """The classes of windows without direction, by strength, then those without contrast."""
        index = np.arange(self.classes).reshape(self.angles, -1, len(self.strength) + 1)
        return [*index[:, 0].T, index[..., 0].ravel()]


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """Windows that belong to a class each, to some share.

    Attributes:
        where: Index of each window.
        kind: Its class; from the number of classes up, one of the pools.
        weight: Its share, above 0.
    """

    where: Int[np.ndarray, " m"]
    kind: Int[np.ndarray, " m"]
    weight: Float32[np.ndarray, " m"]


def shares_of(u: Float32[np.ndarray, "n c 4 w"], structure: Structure) -> Iterator[Share]:
    """Yields the classes of all windows; the weights of a window add up to 1."""
    angle, coherence, strength = (x.ravel() for x in _tensor(u))
    orientation = _turned(angle * structure.angles, structure.angles)
    limits = structure.coherence
    coherent = _between(coherence, limits, [COHERENCE_BAND] * len(limits))
    strong = _between(
        strength, structure.strength, [STRENGTH_BAND * s for s in structure.strength]
    )
    directed, contrast = ramp(coherence, UNDIRECTED), ramp(strength, BLANK)

    steps = len(structure.coherence) + 1, len(structure.strength) + 1
    for o, c, s in product((0, 1), repeat=3):
        kind = (orientation[o] * steps[0] + coherent[c]) * steps[1] + strong[s]
        weight = _side(orientation, o) * _side(coherent, c) * _side(strong, s)
        yield from _share(kind, contrast * directed * weight)
    for s in (0, 1):
        weight = contrast * (1 - directed) * _side(strong, s)
        kind = structure.classes + np.asarray(strong[s], np.intp)
        yield from _share(kind, weight)
    blank = np.full(len(strength), structure.classes + steps[1], np.intp)
    yield from _share(blank, 1 - contrast)


def ramp(
    values: Float32[np.ndarray, "*shape"], limits: tuple[float, float]
) -> Float32[np.ndarray, "*shape"]:
    """Returns 0 below the first limit, 1 above the second, and what lies between in between."""
    low, high = map(np.float32, limits)
    return np.clip((values - low) / (high - low), 0, 1)


def pooled(
    values: Float[np.ndarray, "t k *f"], count: Float[np.ndarray, " k"], structure: Structure
) -> NDArray[np.float64]:
    """Returns values of classes, with those of the pools behind them: means over their classes."""
    means = [
        np.average(values[:, pool], axis=1, weights=count[pool] + 1) for pool in structure.pools
    ]
    return np.concatenate([values, np.stack(means, axis=1)], axis=1)


def spread_out(
    sums: NDArray[np.float64], structure: Structure, *, axis: int
) -> NDArray[np.float64]:
    """Returns sums over classes; what was added up for a pool is shared out among its classes."""
    moved = np.moveaxis(sums, axis, 0)
    out = moved[: structure.classes].copy()
    for number, pool in enumerate(structure.pools, start=structure.classes):
        out[pool] += moved[number] / len(pool)
    return np.moveaxis(out, 0, axis)


def _tensor(u: Float32[np.ndarray, "n c 4 w"]) -> tuple[NDArray[np.float32], ...]:
    """Returns orientation in half turns from 0 to 1, coherence and strength of each window."""
    across = 0.5 * (u[..., 2:] - u[..., :-2])[..., 1:3, :]  # along the two inner lines
    through = (u[..., 2, 1:-1] - u[..., 1, 1:-1])[..., None, :]  # from one to the other
    xx = np.square(across).sum(axis=(-1, -2))
    zz = 2 * np.square(through).sum(axis=(-1, -2))
    xz = (across * through).sum(axis=(-1, -2))

    angle = np.arctan2(2 * xz, xx - zz) / (2 * np.pi) + 0.5
    anisotropy = np.sqrt(np.square(xx - zz) + 4 * np.square(xz))
    coherence = anisotropy / (xx + zz + np.float32(1e-12))
    return angle, coherence, np.sqrt(np.square(u).mean(axis=(-1, -2)))


Between = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]
"""A class, the one above it, and the share of the latter."""


def _turned(turn: NDArray[np.float32], angles: int) -> Between:
    """Returns the classes of orientation, of which the last is followed by the first."""
    at = np.floor(turn - ANGLE_BAND)
    over = (turn - ANGLE_BAND - at - (1 - 2 * ANGLE_BAND)) / (2 * ANGLE_BAND)
    kind = at.astype(np.intp)
    return kind % angles, (kind + 1) % angles, np.clip(over, 0, 1)


def _between(
    values: NDArray[np.float32], limits: Sequence[float], bands: Sequence[float]
) -> Between:
    """Returns the classes between limits, each with a band of some half width about it."""
    if not limits:
        none = np.zeros(len(values), np.intp)
        return none, none, np.zeros(len(values), np.float32)
    low, high = (np.add(limits, np.multiply(sign, bands)).astype(np.float32) for sign in (-1, 1))
    at = np.searchsorted(high, values, side="right")
    next_limit = np.minimum(at, len(limits) - 1)
    over = (values - low[next_limit]) / (high - low)[next_limit]
    over = np.where(at < len(limits), np.clip(over, 0, 1), 0)
    return at, np.minimum(at + 1, len(limits)), over


def _side(between: Between, above: int) -> NDArray[np.float32]:
    return between[2] if above else 1 - between[2]


def _share(kind: NDArray[np.intp], weight: NDArray[np.float32]) -> Iterator[Share]:
    where = np.flatnonzero(weight > 0)
    if len(where):
        yield Share(where, kind[where], weight[where].astype(np.float32))
