"""`cross-plane-ridge`: imputes a slice stack with filters learnt inside its slices.

Two planes cross the slices at each voxel. Each gives a mean and a variance; they are fused as in
`mriimpute.methods.fusion`.

Axes: p = along the slice axis, s = acquired slices, x and y = inside a slice,
t = distances inside a gap.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float32

from mriimpute.cohort.stack import intensity_range, pixel_steps
from mriimpute.config import parse
from mriimpute.geometry import Stack, find_stack
from mriimpute.interpolation import interpolated
from mriimpute.methods.base import Imputation, Imputer
from mriimpute.methods.distance_std import std_by_distance
from mriimpute.methods.fusion import Fused, correlation, fused
from mriimpute.methods.noise import ErrorCorrelation, ErrorSums, white, with_noise
from mriimpute.methods.ridge.filters import Filters
from mriimpute.methods.ridge.moments import (
    Config,
    Moments,
    hidden_lines,
    moments_of_slices,
    unpacked,
)
from mriimpute.progress import Progress
from mriimpute.volume import Volume

__all__ = ["CrossPlaneRidge"]

log = logging.getLogger(__name__)

Slabs = Float32[np.ndarray, "p x y"]
Slices = Float32[np.ndarray, "s x y"]

GAP_SECONDS = 0.2  # of one CPU core, about
CALIBRATION_SLICES = 12  # slices on which the correlation of errors is measured


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
        cls, tensors: Mapping[str, Any], metadata: Mapping[str, Any], *, device: str
    ) -> "CrossPlaneRidge":
        """Returns the imputer of a model file, as read by `mriimpute.checkpoint.load`.

        Raises:
            ConfigError: If a setting is unknown or ill-typed.
            KeyError: If an entry is missing.
            ValueError: If the sums do not fit the settings.
        """
        config = parse(Config, metadata["model"], where="model")
        moments = unpacked({key: np.asarray(tensor) for key, tensor in tensors.items()})
        for gap, sums in moments.items():
            expected = Moments.empty(config, gap).arrays()
            for name, array in sums.arrays().items():
                if array.shape != expected[name].shape:
                    raise ValueError(
                        f"gap{gap}.{name} must have shape {expected[name].shape}, "
                        f"got {array.shape}"
                    )
        return cls(config, moments)

    def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
        """Returns the completed volume."""
        stack = find_stack(volume.observed)
        exponent = 0 if stack is None else _exponent(intensity_range(volume))
        scaled = replace(volume, data=np.ldexp(volume.data, -exponent))
        filled = interpolated(scaled, "linear")
        if stack is None:
            log.warning("this is no slice stack: missing voxels are interpolated linearly")
            std = std_by_distance(volume, ~volume.observed)
            whole = Stack(2, tuple(range(volume.shape[2])))
            return with_noise(volume, filled, std, whole, {}, seed, case)

        # Squares of intensities of 1e20, or of 1e-25, are no numbers in single precision; powers
        # of two change no digit of what is ordinary.
        scale = intensity_range(scaled)
        slabs = np.moveaxis(filled, stack.axis, 0)
        slices = slabs[list(stack.positions)]
        steps = pixel_steps(volume, stack.axis)
        filters = {gap: self._filters(gap, slices, scale, steps) for gap in _sizes(stack)}
        correlations = {gap: _correlation(f, slices, scale, steps) for gap, f in filters.items()}

        learnt = {gap: found for gap, found in filters.items() if found.informed}
        if unknown := sorted(filters.keys() - learnt.keys()):
            log.warning(
                "slices show nothing about gaps of %s voxels: interpolated there", _listed(unknown)
            )
        variance = _fill(slabs, slices, stack, learnt, scale, self.progress)
        std = np.sqrt(np.moveaxis(variance, 0, stack.axis))
        rest = ~volume.observed & (std == 0)
        std = np.ldexp(std + std_by_distance(scaled, rest), exponent)
        filled = np.ldexp(filled, exponent)

        return with_noise(volume, filled, std, stack, correlations, seed, case)

    def _filters(self, gap: int, slices: Slices, scale: float, steps: tuple[int, int]) -> Filters:
        if gap in self.moments and (known := Filters(self.moments[gap], self.config)).informed:
            return known
        if self.moments:
            log.warning(
                "the model knows gaps of %s voxels, not %d: that one is learnt from the scan",
                _listed(sorted(self.moments)),
                gap,
            )
        own = moments_of_slices(slices, gap, scale, self.config, steps=steps)
        return Filters(own, self.config)


def _exponent(scale: float) -> int:
    """Returns the power of two that makes intensities of a range to some of the order of 1."""
    return int(np.frexp(scale)[1])


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _sizes(stack: Stack) -> list[int]:
    return sorted({gap for gap in stack.gaps if gap > 1})


def _fill(
    slabs: Slabs,
    slices: Slices,
    stack: Stack,
    filters: Mapping[int, Filters],
    scale: float,
    progress: Progress,
) -> Slabs:
    """Writes the means of all gaps into `slabs` and returns their variances."""
    alone, shared = np.zeros_like(slabs), np.zeros_like(slabs)
    sums = {gap: np.zeros((3, gap - 1)) for gap in filters}
    inside = {
        index: slice(start + 1, start + gap)
        for index, (start, gap) in enumerate(zip(stack.positions, stack.gaps, strict=False))
        if gap in filters
    }
    progress.plan("planes", GAP_SECONDS * len(inside))
    for index, where in inside.items():
        gap = stack.gaps[index]
        slabs[where], alone[where], shared[where], moments = _both_planes(
            filters[gap], slices, stack, index, scale
        )
        sums[gap] += moments
        progress.advance("planes", GAP_SECONDS)

    for index, where in inside.items():
        alone[where] += correlation(sums[stack.gaps[index]])[:, None, None] * shared[where]
    return alone


def _both_planes(
    filters: Filters, slices: Slices, stack: Stack, index: int, scale: float
) -> Fused:
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
    return fused(a, va, b, vb, distances=0)


def _correlation(
    filters: Filters, slices: Slices, scale: float, steps: tuple[int, int]
) -> ErrorCorrelation:
    """Returns how standardised errors on lines hidden inside the scan's own slices correlate."""
    sums = ErrorSums(filters.gap)
    for image in slices[:: max(1, len(slices) // CALIBRATION_SLICES)]:
        for lines, hidden in hidden_lines(image, filters.gap, steps=steps, phases=[0]):
            mean, variance = filters.predict(lines, scale, has_outer=(True, True))
            error = (hidden - mean) / np.sqrt(variance)
            sums.add(error[None], np.ones_like(error[None], bool))
    # Slices too small to hide a line in, or constant: white noise.
    return sums.correlation() or white(filters.gap)
