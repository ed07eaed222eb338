"""Cross-plane ridge: what happens between slices, learnt from lines hidden inside slices.

Inside an acquired slice every distance from 1 to gap - 1 is observed in two directions. Keep every
gap-th line of a slice, hide the others, and regress each hidden pixel on the nearest pixels of
the four lines around it. Where texture is locally isotropic, the same weights predict a voxel
between acquired slices, in each of the two planes that cross them.

With u the pixels of four lines x nine columns around a hidden pixel, minus the mean m of the two
nearest, the prediction at distance d from the line before is

    y(d) = m + (w_lin(d) + v(c, d)) . u

where w_lin(d) is linear interpolation, v the ridge solution and c the class of u: orientation,
coherence and strength of its structure. Working on differences makes the prediction equivariant,
f(a y + b) = a f(y) + b, and shrinking v rather than w makes linear interpolation the limit of
no data. Sums of squares are all that is needed, so a cohort is read once, and the residual
variance of every class follows without a second look.

Axes: l = four lines (far before, before, after, far after), n = images, c = columns,
f = features (4 x columns of the window), k = classes, t = hidden distances (gap - 1).

References:
    Jog et al., Self Super-resolution for Magnetic Resonance Images, 2016 (the idea of learning
    across planes); Romano et al., RAISR, 2016 (a linear filter per class of local structure).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Float32
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from mriimpute.methods.ridge.classes import Share, Structure, ramp, shares_of, spread_out

__all__ = [
    "Config",
    "Moments",
    "describe",
    "hidden_lines",
    "moments_of_slices",
    "packed",
    "unpacked",
]

Lines = Float32[np.ndarray, "4 n c"]

FLAT = (0.009, 0.011)
"""Fractions of the range: windows with less contrast than the first are left out of the fit, those
with more than the second are not; between them they count in part."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of the cross-plane ridge.

    Attributes:
        columns: Pixels of each line that a prediction sees; odd.
        angles: Classes of orientation.
        coherence: Limits between classes of coherence, 0 (isotropic) to 1 (one direction).
        strength: Limits between classes of contrast, as a fraction of the scan's intensity range.
        ridge: Weight of linear interpolation, as a fraction of the mean squared feature.
        class_pixels: Pixels of a class that the common filter weighs as much as.
    """

    columns: int = 9
    angles: int = 12
    coherence: tuple[float, ...] = (0.4, 0.7)
    strength: tuple[float, ...] = (0.05, 0.1, 0.2)
    ridge: float = 1e-4
    class_pixels: float = 300.0

    def __post_init__(self) -> None:
        if self.columns % 2 == 0 or self.columns < 3:
            raise ValueError(f"columns must be odd and at least 3, got {self.columns}")
        if self.angles < 1:
            raise ValueError(f"angles must be at least 1, got {self.angles}")
        for name in ("ridge", "class_pixels"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("coherence", "strength"):
            limits = getattr(self, name)
            if list(limits) != sorted(set(limits)):
                raise ValueError(f"{name} must increase, got {limits}")

    @property
    def classes(self) -> int:
        """Number of classes of local structure."""
        return self.structure.classes

    @property
    def structure(self) -> Structure:
        """The classes of local structure."""
        return Structure(self.angles, self.coherence, self.strength)

    @property
    def features(self) -> int:
        """Pixels that a prediction sees."""
        return 4 * self.columns


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Sums over hidden pixels: all that a ridge needs to know about its training data.

    Attributes:
        count: Pixels per class; one between two classes counts in part.
        gram: Sum of u u^T.
        cross: Sum of u times what linear interpolation misses.
        square: Sum of the square of what linear interpolation misses.
    """

    count: Float[np.ndarray, " k"]
    gram: Float[np.ndarray, "k f f"]
    cross: Float[np.ndarray, "t k f"]
    square: Float[np.ndarray, "t k"]

    @staticmethod
    def empty(config: Config, gap: int) -> "Moments":
        """Returns the moments of no data, for slices `gap` voxels apart."""
        return Moments.zeros(config.classes, config.features, gap)

    @staticmethod
    def zeros(k: int, f: int, gap: int) -> "Moments":
        """Returns the moments of no data, for `k` classes and `f` features."""
        t, zero = gap - 1, np.zeros
        return Moments(zero(k), zero((k, f, f)), zero((t, k, f)), zero((t, k)))

    @property
    def gap(self) -> int:
        """Distance between the lines, in voxels."""
        return len(self.square) + 1

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.count + other.count,
            self.gram + other.gram,
            self.cross + other.cross,
            self.square + other.square,
        )

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Returns the sums by name, to be stored."""
        names = ("count", "gram", "cross", "square")
        return {name: getattr(self, name) for name in names}

    @staticmethod
    def from_arrays(arrays: dict[str, NDArray[np.float64]]) -> "Moments":
        """Returns the moments that `arrays` came from."""
        return Moments(arrays["count"], arrays["gram"], arrays["cross"], arrays["square"])


def describe(
    lines: Lines, scale: float, config: Config
) -> tuple[Float32[np.ndarray, "n c f"], Float32[np.ndarray, "n c"], list[Share]]:
    """Returns the features u, their base m and the classes of every pixel between the lines.

    Args:
        lines: Finite intensities of the four lines.
        scale: Intensity range of the scan; u is in units of it.
        config: Windows, classes and weights of the ridge.
    """
    half = config.columns // 2
    padded = np.pad(lines, ((0, 0), (0, 0), (half, half)), mode="edge")
    windows = np.moveaxis(sliding_window_view(padded, config.columns, axis=2), 0, 2)
    base = 0.5 * (lines[1] + lines[2])
    u = (windows - base[..., None, None]) * np.float32(1 / scale)

    return u.reshape(*base.shape, config.features), base, list(shares_of(u, config.structure))


def packed(moments: Mapping[int, Moments]) -> dict[str, NDArray[np.float64]]:
    """Returns the sums of all gaps as one flat table, to be stored."""
    return {f"gap{gap}.{k}": v for gap, m in moments.items() for k, v in m.arrays().items()}


def unpacked(table: Mapping[str, NDArray[np.float64]]) -> dict[int, Moments]:
    """Returns the moments, by size of the gap, that `packed` was given."""
    arrays: dict[int, dict[str, NDArray[np.float64]]] = {}
    for key, sums in table.items():
        gap, _, name = key.removeprefix("gap").partition(".")
        arrays.setdefault(int(gap), {})[name] = sums
    return {gap: Moments.from_arrays(named) for gap, named in arrays.items()}


def moments_of_slices(
    slices: Float32[np.ndarray, "s x y"],
    gap: int,
    scale: float,
    config: Config,
    *,
    steps: tuple[int, int] = (1, 1),
) -> Moments:
    """Returns the moments of the lines hidden inside acquired slices, in both directions.

    Args:
        slices: Finite intensities.
        gap: Voxels from one acquired slice to the next.
        scale: Intensity range of the scan.
        config: Windows, classes and weights of the ridge.
        steps: Pixels along x and y that are as long as one voxel between slices.
    """
    structure = config.structure
    total = Moments.zeros(structure.classes + len(structure.pools), config.features, gap)
    for image in slices:
        for lines, hidden in hidden_lines(image, gap, steps=steps):
            u, base, shares = describe(lines, scale, config)
            target = (hidden - base) * np.float32(1 / scale) - _linear(u, gap, config)
            windows, misses = u.reshape(-1, config.features), target.reshape(gap - 1, -1)
            active = ramp(np.abs(windows).max(axis=-1), FLAT)
            for share in shares:
                weight = share.weight * active[share.where]
                seen = weight > 0
                part = Share(share.where[seen], share.kind[seen], weight[seen])
                _accumulate(total, windows, misses, part)
    axes = {"count": 0, "gram": 0, "cross": 1, "square": 1}
    sums = total.arrays()
    return Moments(**{name: spread_out(sums[name], structure, axis=a) for name, a in axes.items()})


def hidden_lines(
    image: Float32[np.ndarray, "x y"],
    gap: int,
    *,
    steps: tuple[int, int] = (1, 1),
    phases: Sequence[int] | None = None,
) -> Iterator[tuple[Lines, Float32[np.ndarray, "t n c"]]]:
    """Yields four kept lines around every gap of a slice, and the lines hidden in it.

    Args:
        image: An acquired slice.
        gap: Voxels from one acquired slice to the next.
        steps: Pixels along x and y that are as long as one voxel between slices.
        phases: Which lines to keep first; all by default.
    """
    for pixels, step in zip((image, np.ascontiguousarray(image.T)), steps, strict=True):
        period = gap * step
        for phase in range(period) if phases is None else phases:
            kept = pixels[phase::period]
            gaps = len(kept) - 3
            if gaps > 0:
                start = phase + period
                inside = pixels[start : start + gaps * period].reshape(gaps, period, -1)
                lines = np.stack([kept[i : i + gaps] for i in range(4)])
                yield lines, np.moveaxis(inside[:, step::step], 1, 0)


def _linear(
    u: Float32[np.ndarray, "n c f"], gap: int, config: Config
) -> Float32[np.ndarray, "t n c"]:
    middle = config.columns // 2
    before, after = u[..., config.columns + middle], u[..., 2 * config.columns + middle]
    distance = np.arange(1, gap, dtype=np.float32)[:, None, None] / gap
    return (1 - distance) * before + distance * after


def _accumulate(
    total: Moments,
    u: Float32[np.ndarray, "m f"],
    target: Float32[np.ndarray, "t m"],
    share: Share,
) -> None:
    """Adds windows to `total`, which the caller owns, each by its share."""
    order = np.argsort(share.kind, kind="stable")
    where, weight = share.where[order], share.weight[order]
    limits = np.searchsorted(share.kind[order], np.arange(len(total.count) + 1))
    for k, (start, stop) in enumerate(pairwise(limits)):
        if stop > start:
            rows, misses = u[where[start:stop]], target[:, where[start:stop]]
            weighted = weight[start:stop, None] * rows
            total.count[k] += weight[start:stop].sum(dtype=np.float64)
            total.gram[k] += weighted.T @ rows
            total.cross[:, k] += misses @ weighted
            total.square[:, k] += np.square(misses) @ weight[start:stop]
