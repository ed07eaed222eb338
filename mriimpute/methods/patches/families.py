"""Completed slice stacks, and draws of them that scatter as far as was measured.

A family of patches completes the whole stack. With T the calibrated variance of a voxel, m its
mean, d_fn what draw n of family f departs from its own mean, w_f the share of the family in m, and
V = sum w_f^2 v_f the variance of what they make together,

    draw n    y_n = m + c sum_f w_f d_fn + sqrt(T - c^2 V) noise_n,    c^2 V <= 0.9 T

where the noise goes together as errors on hidden lines do. What latent variables know of errors is
kept; the noise makes up for what they do not.

Axes: x and y = inside a slice, p = along the slice axis.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32

from mriimpute.methods.noise import ErrorCorrelation
from mriimpute.methods.patches.work import PatchWork
from mriimpute.methods.self_calibration import SelfCalibration

__all__ = ["LEAST", "Completed", "Family", "correlations_of"]

Image = Float32[np.ndarray, "x y p"]

MOST = 0.9
"""Of the variance, that draws of latent variables make up."""

LEAST = 1e-12
"""Variance of a voxel: fusion divides by it."""


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """A stack completed by one family of patches.

    Attributes:
        work: Gives draws of the latent variables.
        mean: Of the voxels.
        latent: Variance of the mean given z.
        ratio: What a blended draw's departure from the mean is multiplied by, see `PatchWork`.
        total: Variance of the voxels, as the model has it.
    """

    work: PatchWork
    mean: Image
    latent: Image
    ratio: Image
    total: Image

    @classmethod
    def of(cls, work: PatchWork) -> "Family":
        """Returns the family that completes a grid."""
        mean, within, between, ratio, noise = work.moments()
        return cls(work, mean, within, ratio, within + between + noise)

    def departure(self, number: int) -> Image:
        """Returns what a draw departs from the mean, without the noise of voxels."""
        return self.ratio * (self.work.latent_draw(number) - self.mean)


@dataclass(frozen=True, slots=True, eq=False)
class Completed:
    """What all families say together.

    Attributes:
        families: One, or two.
        shares: Of each in the mean; they add up to 1.
        mean: Of the voxels, normalised.
        variance: The same, calibrated: T.
        correlations: How errors go together, by size of the gap.
        quality: What was measured on the scan's own slices, see `Imputation`.
    """

    families: tuple[Family, ...]
    shares: tuple[Image, ...]
    mean: Image
    variance: Image
    correlations: Mapping[int, ErrorCorrelation]
    quality: Mapping[str, Any] = field(default_factory=dict)

    def latent_variance(self) -> Image:
        """Returns V."""
        return self._sum([share * share * f.latent for share, f in self._pairs()])

    def latent_scale(self) -> Image:
        """Returns c."""
        most = MOST * self.variance / np.maximum(self.latent_variance(), np.float32(LEAST))
        return np.sqrt(np.minimum(most, 1))

    def departure(self, number: int) -> Image:
        """Returns what a draw of all families departs from the mean, without noise."""
        return self._sum([share * f.departure(number) for share, f in self._pairs()])

    def _pairs(self) -> list[tuple[Image, Family]]:
        return list(zip(self.shares, self.families, strict=True))

    def _sum(self, parts: list[Image]) -> Image:
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def correlations_of(measured: Mapping[int, SelfCalibration]) -> dict[int, ErrorCorrelation]:
    """Returns how errors go together, by size of the gap; deep in the head, if that is known."""
    found = {gap: each.inner.correlation() or each.errors.correlation() for gap, each in
             measured.items()}  # fmt: skip
    return {gap: one for gap, one in found.items() if one}
