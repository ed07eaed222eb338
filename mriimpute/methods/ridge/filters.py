"""The ridge solutions of the cross-plane moments: what fills a gap, and how far it misses.

Axes: as in `mriimpute.methods.ridge.moments`.
"""

from functools import cached_property

import numpy as np
from jaxtyping import Float, Float32
from numpy.typing import NDArray

from mriimpute.methods.ridge.classes import pooled
from mriimpute.methods.ridge.moments import Config, Lines, Moments, describe

__all__ = ["Filters"]


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
        u, base, shares = describe(lines, scale, self.config)
        weights, variance = self._solution(has_outer)
        windows = u.reshape(base.size, -1)
        change, spread = np.zeros((2, len(weights), base.size), np.float32)
        for share in shares:
            part = windows[share.where]
            for t, w in enumerate(weights):
                # Not a matrix product: its rounding would depend on how many voxels it is given.
                moved = np.einsum("mf,mf->m", part, w[share.kind])
                change[t, share.where] += share.weight * moved
            spread[:, share.where] += share.weight * variance[:, share.kind]

        size, shape = np.float32(scale), (len(weights), *base.shape)
        return base + size * change.reshape(shape), size**2 * spread.reshape(shape)

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
        total = gram.sum(axis=0)
        mean_square = np.trace(total) / len(total) / max(moments.count.sum(), 1)
        penalty = (config.class_pixels * mean_square + 1e-12) * np.eye(len(total))

        weights = np.zeros_like(cross)
        for t in range(self.gap - 1):
            common = self._ridge(total, cross[t].sum(axis=0)) * present
            left = cross[t] - gram @ common
            own = np.linalg.solve(gram + penalty, left[..., None])[..., 0] * present
            weights[t] = common + own

        freedom = np.trace(np.linalg.solve(gram + penalty, gram), axis1=1, axis2=2)
        variance = self._residual(weights, freedom)
        weights = weights + _linear_weights(self.gap, config)[:, None]
        weights = pooled(weights, moments.count, config.structure)
        variance = pooled(variance, moments.count, config.structure)
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


def _linear_weights(gap: int, config: Config) -> NDArray[np.float64]:
    """Returns the weights (t, f) on u that make linear interpolation."""
    weights = np.zeros((gap - 1, 4, config.columns))
    distance = np.arange(1, gap) / gap
    weights[:, 1, config.columns // 2] = 1 - distance
    weights[:, 2, config.columns // 2] = distance
    return weights.reshape(gap - 1, config.features)
