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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Float32, Int
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

__all__ = ["Config", "Filters", "Moments", "describe", "hidden_lines", "moments_of_slices"]

Lines = Float32[np.ndarray, "4 n c"]

FLAT = 0.01  # windows with less contrast than this share of the range are left out of the fit


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of the cross-plane ridge.

    Attributes:
        columns: Pixels of each line that a prediction sees; odd.
        angles: Classes of orientation.
        coherence: Limits between classes of coherence, 0 (isotropic) to 1 (one direction).
        strength: Limits between classes of contrast, as a share of the scan's intensity range.
        ridge: Weight of linear interpolation, as a share of the mean squared feature.
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
        return self.angles * (len(self.coherence) + 1) * (len(self.strength) + 1)

    @property
    def features(self) -> int:
        """Pixels that a prediction sees."""
        return 4 * self.columns


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Sums over hidden pixels: all that a ridge needs to know about its training data.

    Attributes:
        count: Pixels per class.
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
        k, f, t = config.classes, config.features, gap - 1
        zero = np.zeros
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
) -> tuple[Float32[np.ndarray, "n c f"], Float32[np.ndarray, "n c"], Int[np.ndarray, "n c"]]:
    """Returns the features u, their base m and the class of every pixel between the lines.

    Args:
        lines: Finite intensities of the four lines.
        scale: Intensity range of the scan; u is in units of it.
        config: Settings.
    """
    half = config.columns // 2
    padded = np.pad(lines, ((0, 0), (0, 0), (half, half)), mode="edge")
    windows = np.moveaxis(sliding_window_view(padded, config.columns, axis=2), 0, 2)
    base = 0.5 * (lines[1] + lines[2])
    u = (windows - base[..., None, None]) * np.float32(1 / scale)

    return u.reshape(*base.shape, config.features), base, _classes(u, config)


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
        config: Settings.
        steps: Pixels along x and y that are as long as one voxel between slices.
    """
    total = Moments.empty(config, gap)
    for image in slices:
        for lines, hidden in hidden_lines(image, gap, steps=steps):
            u, base, kind = describe(lines, scale, config)
            active = np.abs(u).max(axis=-1) > FLAT
            target = (hidden - base) * np.float32(1 / scale) - _linear(u, gap, config)
            _accumulate(total, u[active], target[:, active], kind[active])
    return total


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


class Filters:
    """The ridge solutions for one gap, and how far they miss inside slices."""

    def __init__(self, moments: Moments, config: Config) -> None:
        self.gap = moments.gap
        self.config = config
        self._moments = moments
        self._solved: dict[tuple[bool, bool], tuple[NDArray[np.float32], NDArray[np.float32]]] = {}

    @property
    def informed(self) -> bool:
        """Whether any pixel was learnt from; the variance means nothing otherwise."""
        return bool(self._moments.count.any())

    def predict(
        self, lines: Lines, scale: float, *, has_outer: tuple[bool, bool]
    ) -> tuple[Float32[np.ndarray, "t n c"], Float32[np.ndarray, "t n c"]]:
        """Returns the conditional mean between the two inner lines, and its variance.

        Args:
            lines: Finite intensities of the four lines.
            scale: Intensity range of the scan.
            has_outer: Whether the first and the last line exist and lie one gap away; one that
                does not may hold anything finite and is not looked at.
        """
        first, last = has_outer
        lines = np.stack(
            [lines[0] if first else lines[1], *lines[1:3], lines[3] if last else lines[2]]
        )
        u, base, kind = describe(lines, scale, self.config)
        weights, variance = self._solution(has_outer)
        # Not a matrix product: its rounding would depend on how many voxels it is given.
        change = np.stack([np.einsum("ncf,ncf->nc", u, w[kind]) for w in weights])

        return base + np.float32(scale) * change, np.float32(scale) ** 2 * variance[:, kind]

    @cached_property
    def _common(self) -> NDArray[np.float64]:
        """The ridge solutions over all classes, as deviations from linear interpolation."""
        gram = self._moments.gram.sum(axis=0)
        return np.stack([self._ridge(gram, c.sum(axis=0)) for c in self._moments.cross])

    def _ridge(
        self, gram: Float[np.ndarray, "f f"], cross: Float[np.ndarray, " f"]
    ) -> NDArray[np.float64]:
        penalty = self.config.ridge * np.trace(gram) / len(gram) + 1e-12
        return np.linalg.solve(gram + penalty * np.eye(len(gram)), cross)

    def _solution(
        self, has_outer: tuple[bool, bool]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if has_outer not in self._solved:
            self._solved[has_outer] = self._solve(has_outer)
        return self._solved[has_outer]

    def _solve(
        self, has_outer: tuple[bool, bool]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns weights (t, k, f) and residual variances (t, k), without the absent lines."""
        moments, config = self._moments, self.config
        present = np.repeat([has_outer[0], True, True, has_outer[1]], config.columns)
        gram = moments.gram * np.outer(present, present)
        cross = moments.cross * present
        pooled = gram.sum(axis=0)
        mean_square = np.trace(pooled) / len(pooled) / max(moments.count.sum(), 1)
        penalty = (config.class_pixels * mean_square + 1e-12) * np.eye(len(pooled))

        weights = np.zeros_like(cross)
        for t in range(self.gap - 1):
            common = self._ridge(pooled, cross[t].sum(axis=0)) * present
            left = cross[t] - gram @ common
            own = np.linalg.solve(gram + penalty, left[..., None])[..., 0] * present
            weights[t] = common + own

        freedom = np.trace(np.linalg.solve(gram + penalty, gram), axis1=1, axis2=2)
        variance = self._residual(weights, freedom)
        weights = weights + _linear_weights(self.gap, config)[:, None]
        # A floor: no scan is free of noise, and precisions divide by this.
        return weights.astype(np.float32), np.maximum(variance, 1e-9).astype(np.float32)

    def _residual(
        self, deviation: Float[np.ndarray, "t k f"], freedom: Float[np.ndarray, " k"]
    ) -> NDArray[np.float64]:
        """Returns E (target - v . u)^2 per class on unseen data, from the sums alone.

        What n pixels that p weights were fitted to miss understates what others will miss by
        (n - p) / (n + p) (Akaike's final prediction error, 1969). A class that was never seen
        takes the variance of its strength and distance, then that of the distance.
        """
        moments = self._moments
        explained = np.einsum("tkf,tkf->tk", deviation, 2 * moments.cross) - np.einsum(
            "tkf,kfg,tkg->tk", deviation, moments.gram, deviation
        )
        fitted = np.minimum(freedom, 0.8 * moments.count)
        unseen = _ratio(moments.count + fitted, moments.count - fitted, 1.0)
        total = np.maximum(moments.square - explained, 0.0) * unseen
        strengths = len(self.config.strength) + 1
        by_strength = (len(total), -1, strengths)
        count = np.broadcast_to(moments.count, total.shape)
        pooled = _ratio(total.sum(axis=1), count.sum(axis=1), 0.0)
        strength = _ratio(
            total.reshape(by_strength).sum(axis=1),
            count.reshape(by_strength).sum(axis=1),
            pooled[:, None],
        )
        # A class with few pixels borrows from its strength as much as from 200 of its own.
        prior = np.tile(strength, (1, total.shape[1] // strengths))
        return (total + 200 * prior) / (count + 200)


def _ratio(
    top: NDArray[np.float64], bottom: NDArray[np.float64], otherwise: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1), otherwise)


def _classes(u: Float32[np.ndarray, "n c 4 w"], config: Config) -> NDArray[np.intp]:
    """Returns the class of each window, from its structure tensor."""
    across = 0.5 * (u[..., 2:] - u[..., :-2])[..., 1:3, :]  # along the two inner lines
    through = (u[..., 2, 1:-1] - u[..., 1, 1:-1])[..., None, :]  # from one to the other
    xx = np.square(across).sum(axis=(-1, -2))
    zz = 2 * np.square(through).sum(axis=(-1, -2))
    xz = (across * through).sum(axis=(-1, -2))

    angle = np.arctan2(2 * xz, xx - zz) / (2 * np.pi) + 0.5
    orientation = np.minimum((angle * config.angles).astype(np.intp), config.angles - 1)
    spread = np.sqrt(np.square(xx - zz) + 4 * np.square(xz))
    coherence = np.digitize(spread / (xx + zz + np.float32(1e-12)), config.coherence)
    strength = np.digitize(np.sqrt(np.square(u).mean(axis=(-1, -2))), config.strength)

    steps = (len(config.coherence) + 1, len(config.strength) + 1)
    return (orientation * steps[0] + coherence) * steps[1] + strength


def _linear_weights(gap: int, config: Config) -> NDArray[np.float64]:
    """Returns the weights (t, f) on u that make linear interpolation."""
    weights = np.zeros((gap - 1, 4, config.columns))
    distance = np.arange(1, gap) / gap
    weights[:, 1, config.columns // 2] = 1 - distance
    weights[:, 2, config.columns // 2] = distance
    return weights.reshape(gap - 1, config.features)


def _linear(
    u: Float32[np.ndarray, "n c f"], gap: int, config: Config
) -> Float32[np.ndarray, "t n c"]:
    middle = config.columns // 2
    before, after = u[..., config.columns + middle], u[..., 2 * config.columns + middle]
    distance = np.arange(1, gap, dtype=np.float32)[:, None, None] / gap
    return (1 - distance) * before + distance * after


def _accumulate(
    total: Moments,
    u: Float32[np.ndarray, "p f"],
    target: Float32[np.ndarray, "t p"],
    kind: Int[np.ndarray, " p"],
) -> None:
    """Adds pixels to `total`, which the caller owns."""
    order = np.argsort(kind, kind="stable")
    u, target = u[order], target[:, order]
    limits = np.searchsorted(kind[order], np.arange(len(total.count) + 1))
    for k, (start, stop) in enumerate(pairwise(limits)):
        if stop > start:
            rows, misses = u[start:stop], target[:, start:stop]
            total.count[k] += stop - start
            total.gram[k] += rows.T @ rows
            total.cross[:, k] += misses @ rows
            total.square[:, k] += np.square(misses).sum(axis=1)
