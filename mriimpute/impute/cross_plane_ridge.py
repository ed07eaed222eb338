"""`cross-plane-ridge`: imputes a slice stack with filters learnt inside its slices.

Two planes cross the slices at each voxel. Each gives a mean and a variance; they are averaged by
precision. How much their errors have in common is read off from how far they disagree, which
needs no truth: E (a - b)^2 = va + vb - 2 rho sqrt(va vb).

Axes: p = along the slice axis, s = acquired slices, x and y = inside a slice,
t = distances inside a gap.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from mriimpute.config import parse
from mriimpute.data.stack import intensity_range, pixel_steps
from mriimpute.geometry import Stack, find_stack
from mriimpute.impute._contract import Imputation, Imputer
from mriimpute.impute.interpolate import interpolated
from mriimpute.impute.noise import Texture, texture, unit_noise
from mriimpute.impute.variogram import spread_by_distance
from mriimpute.inference.cross_plane import (
    Config,
    Moments,
    hidden_lines,
    moments_of_slices,
    unpacked,
)
from mriimpute.inference.cross_plane_filters import Filters
from mriimpute.volume import Volume

__all__ = ["CrossPlaneRidge"]

log = logging.getLogger(__name__)

Slabs = Float32[np.ndarray, "p x y"]
Slices = Float32[np.ndarray, "s x y"]

PROBES = 12  # slices on which the texture of errors is measured


@dataclass(frozen=True, slots=True, eq=False)
class _Planes:
    """The two predictions of one gap, fused.

    Attributes:
        mean: Precision-weighted.
        alone: Variance of the mean if the errors of the planes were independent.
        shared: What each unit of their correlation adds to it.
        disagreement: Mean squared difference of the planes, per distance.
        variances: Mean sum of their variances, per distance.
        geometric: Mean of 2 sqrt(va vb), per distance.
    """

    mean: Float32[np.ndarray, "t x y"]
    alone: Float32[np.ndarray, "t x y"]
    shared: Float32[np.ndarray, "t x y"]
    disagreement: NDArray[np.float64]
    variances: NDArray[np.float64]
    geometric: NDArray[np.float64]


class CrossPlaneRidge(Imputer):
    """Fills the gaps of a slice stack; elsewhere it interpolates linearly.

    Args:
        config: Settings the moments were gathered with.
        moments: Of a cohort, by size of the gap in voxels. A gap that is not among them is
            learnt from the scan itself.
    """

    name = "cross-plane-ridge"

    def __init__(
        self, config: Config | None = None, moments: Mapping[int, Moments] | None = None
    ) -> None:
        self.config = Config() if config is None else config
        self.moments = dict(moments or {})

    @classmethod
    def from_checkpoint(
        cls, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]
    ) -> "CrossPlaneRidge":
        """Returns the imputer of a model file, as read by `mriimpute.checkpoint.load`.

        Raises:
            ConfigError: If a setting is unknown or ill-typed.
            KeyError: If an entry is missing.
            ValueError: If the sums do not fit the settings.
        """
        config = parse(Config, metadata["model"], where="model")
        moments = unpacked(arrays)
        for gap, sums in moments.items():
            expected = Moments.empty(config, gap).arrays()
            for name, array in sums.arrays().items():
                if array.shape != expected[name].shape:
                    raise ValueError(
                        f"gap{gap}.{name} must have shape {expected[name].shape}, "
                        f"got {array.shape}"
                    )
        return cls(config, moments)

    def impute(
        self, volume: Volume, *, seed: int, case: str, tile: int, keep_observed: bool = True
    ) -> Imputation:
        """Returns the completed volume; slices are few, so nothing is tiled."""
        filled = interpolated(volume, "linear")
        stack = find_stack(volume.observed)
        if stack is None:
            log.warning("this is no slice stack: missing voxels are interpolated linearly")
            std = spread_by_distance(volume, ~volume.observed)
            whole = Stack(2, tuple(range(volume.shape[2])))
            return self._imputation(volume, filled, std, whole, {}, seed, case)

        scale = intensity_range(volume)
        slabs = np.moveaxis(filled, stack.axis, 0)
        slices = slabs[list(stack.positions)]
        steps = pixel_steps(volume, stack.axis)
        filters = {gap: self._filters(gap, slices, scale, steps) for gap in _sizes(stack)}
        textures = {gap: _texture(f, slices, scale, steps) for gap, f in filters.items()}

        learnt = {gap: found for gap, found in filters.items() if found.informed}
        if unknown := sorted(filters.keys() - learnt.keys()):
            log.warning("slices show nothing about gaps of %s voxels: interpolated there", unknown)
        variance = _fill(slabs, slices, stack, learnt, scale)
        std = np.sqrt(np.moveaxis(variance, 0, stack.axis))
        rest = ~volume.observed & (std == 0)
        std = std + spread_by_distance(volume, rest)

        return self._imputation(volume, filled, std, stack, textures, seed, case)

    def _filters(self, gap: int, slices: Slices, scale: float, steps: tuple[int, int]) -> Filters:
        if gap in self.moments and (known := Filters(self.moments[gap], self.config)).informed:
            return known
        if self.moments:
            log.warning(
                "the model knows gaps of %s voxels, not %d: that one is learnt from the scan",
                sorted(self.moments),
                gap,
            )
        own = moments_of_slices(slices, gap, scale, self.config, steps=steps)
        return Filters(own, self.config)

    def _imputation(
        self,
        volume: Volume,
        filled: Float32[np.ndarray, "i j k"],
        std: Float32[np.ndarray, "i j k"],
        stack: Stack,
        textures: dict[int, Texture],
        seed: int,
        case: str,
    ) -> Imputation:
        mean = np.where(volume.observed, volume.data, filled)
        std = np.where(volume.observed, np.float32(0), std)

        def draw(number: int) -> Float32[np.ndarray, "i j k"]:
            noise = unit_noise(mean.shape, stack, textures, seed=seed, case=case, draw=number)
            return np.where(volume.observed, volume.data, mean + std * noise)

        return Imputation(mean=mean, std=std, draw=draw)


def _sizes(stack: Stack) -> list[int]:
    return sorted({gap for gap in stack.gaps if gap > 1})


def _fill(
    slabs: Slabs, slices: Slices, stack: Stack, filters: Mapping[int, Filters], scale: float
) -> Slabs:
    """Writes the means of all gaps into `slabs` and returns their variances."""
    alone, shared = np.zeros_like(slabs), np.zeros_like(slabs)
    sums = {gap: np.zeros((3, gap - 1)) for gap in filters}
    inside = {
        index: slice(start + 1, start + gap)
        for index, (start, gap) in enumerate(zip(stack.positions, stack.gaps, strict=False))
        if gap in filters
    }
    for index, where in inside.items():
        gap = stack.gaps[index]
        planes = _both_planes(filters[gap], slices, stack, index, scale)
        slabs[where], alone[where], shared[where] = planes.mean, planes.alone, planes.shared
        sums[gap] += planes.disagreement, planes.variances, planes.geometric

    for index, where in inside.items():
        disagreement, variances, geometric = sums[stack.gaps[index]]
        common = np.clip((variances - disagreement) / np.maximum(geometric, 1e-30), 0.0, 1.0)
        alone[where] += common.astype(np.float32)[:, None, None] * shared[where]
    return alone


def _both_planes(
    filters: Filters, slices: Slices, stack: Stack, index: int, scale: float
) -> _Planes:
    """Returns the fused prediction between acquired slices `index` and `index + 1`."""
    gaps, last = stack.gaps, len(slices) - 1
    has_outer = (
        index > 0 and gaps[index - 1] == gaps[index],
        index + 1 < last and gaps[index + 1] == gaps[index],
    )
    lines = slices[[max(index - 1, 0), index, index + 1, min(index + 2, last)]]
    a, va = filters.predict(lines, scale, has_outer=has_outer)
    b, vb = filters.predict(
        np.ascontiguousarray(lines.transpose(0, 2, 1)), scale, has_outer=has_outer
    )
    b, vb = b.transpose(0, 2, 1), vb.transpose(0, 2, 1)

    total = va + vb
    share = vb / total
    product = share * va
    return _Planes(
        mean=share * a + (1 - share) * b,
        alone=product,
        shared=2 * product * np.sqrt(share * (1 - share)),
        disagreement=np.square(a - b).mean(axis=(1, 2), dtype=np.float64),
        variances=total.mean(axis=(1, 2), dtype=np.float64),
        geometric=2 * np.sqrt(va * vb).mean(axis=(1, 2), dtype=np.float64),
    )


def _texture(filters: Filters, slices: Slices, scale: float, steps: tuple[int, int]) -> Texture:
    """Returns how standardised errors on lines hidden inside the scan's own slices correlate."""
    size = filters.gap - 1
    within, beside = np.zeros((size, size)), 0.0
    for image in slices[:: max(1, len(slices) // PROBES)]:
        for lines, hidden in hidden_lines(image, filters.gap, steps=steps, phases=[0]):
            mean, variance = filters.predict(lines, scale, has_outer=(True, True))
            error = (hidden - mean) / np.sqrt(variance)
            within += np.einsum("tnc,snc->ts", error, error, dtype=np.float64)
            beside += float((error[..., 1:] * error[..., :-1]).sum(dtype=np.float64))
    # Slices too small to hide a line in, or constant: white noise.
    return texture(within, beside) or Texture(0.0, np.eye(size))
