"""What is hidden from the encoder: it sees a part of what was observed, and is judged by all.

An encoder that sees every observed voxel is never asked for a missing one. Here each patch hides
some of its own observed voxels, in one of these ways:

    lines   inside slices, every gap-th one stays; inside one slice that is what a plane across
            the slices looks like
    voxels  at random
    slices  of a stack, every second one; inside one slice, lines
    nothing what imputation sees, in three dimensions

With C the part that is shown and O all that was observed, training maximises

    E_q[log p(y_O | z)] - KL[q(z | y_C) || p(z)]  <=  log p(y_O)

whatever q is: a bound of the evidence of all that was observed, whose q is given a part. It is
loose by KL[q(z | y_C) || p(z | y_O)]. The best q is proportional to exp E[log p(z | y_O) | y_C]:
the geometric mean of the posteriors that the hidden part could lead to, which is narrower than
p(z | y_C), their mixture. Draws of it scatter too little; `imputer` measures by how much. With
C = O this is the bound of Dalca et al., 2019, Eq. 9.

Axes: b = batch, grid = voxels of a patch, two or three axes.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from mriimpute.cohort import Patches

__all__ = ["NOTHING_HIDDEN", "HiddenConfig", "with_hidden"]

Part = Bool[np.ndarray, "*grid"]


@dataclass(frozen=True, kw_only=True, slots=True)
class HiddenConfig:
    """What is hidden from the encoder. Of the patches that no share names, nothing.

    Attributes:
        lines: Share of patches that hide lines inside slices.
        voxels: Share of patches that hide random voxels.
        slices: Share of patches that hide every second slice.
        own_gap: Share of those with hidden lines whose gap is that between slices of the scan.
        gaps: From one shown line to the next, in voxels, of the others.
        shown: Least and greatest fraction of the voxels shown, where random ones are hidden.
    """

    lines: float = 0.8
    voxels: float = 0.05
    slices: float = 0.05
    own_gap: float = 0.75
    gaps: tuple[int, ...] = (2, 3, 4, 5, 6)
    shown: tuple[float, float] = (0.1, 0.5)

    def __post_init__(self) -> None:
        for name in ("lines", "voxels", "slices", "own_gap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0 to 1, got {getattr(self, name)}")
        if self.lines + self.voxels + self.slices > 1 + 1e-9:
            raise ValueError("lines, voxels and slices must add up to 1 at most")
        if not self.gaps or min(self.gaps) < 2:
            raise ValueError(f"gaps must be at least 2, got {self.gaps}")
        if not 0 < self.shown[0] <= self.shown[1] <= 1:
            raise ValueError(f"shown must increase in 0 to 1, got {self.shown}")

    @property
    def hides(self) -> bool:
        """Whether anything is hidden."""
        return self.lines + self.voxels + self.slices > 0

    def lines_alone(self) -> "HiddenConfig":
        """Returns what validation hides: what imputation misses, as nearly as slices know it."""
        return dataclasses.replace(self, lines=1.0, voxels=0.0, slices=0.0, own_gap=1.0)


NOTHING_HIDDEN = HiddenConfig(lines=0.0, voxels=0.0, slices=0.0)
"""Encoders see all that was observed."""


def with_hidden(
    patches: Patches, config: HiddenConfig, generators: Callable[[int], np.random.Generator]
) -> Patches:
    """Returns patches of which a part is shown.

    Args:
        patches: As they were drawn.
        config: What to hide.
        generators: Returns the randomness of each patch, by its row.
    """
    gaps = patches.gaps or (2,) * len(patches.y)
    parts = [
        _shown(observed[0], gap, config, generators(row))
        for row, (observed, gap) in enumerate(zip(patches.observed, gaps, strict=True))
    ]
    return dataclasses.replace(patches, shown=np.stack(parts)[:, None])


def _shown(
    observed: Part, own_gap: int, config: HiddenConfig, generator: np.random.Generator
) -> Part:
    """Returns what is shown of a patch."""
    kind, own = generator.random(2)
    gap = own_gap if own < config.own_gap else int(generator.choice(config.gaps))
    normal = _normal(observed)
    if kind < config.slices and normal is not None:
        there = np.flatnonzero(observed.any(axis=_others(observed, normal)))
        return observed & _at(observed.shape, normal, there[generator.integers(2) :: 2])
    if kind < config.slices + config.lines:
        axes = [axis for axis in range(observed.ndim) if axis != normal]
        axis = int(generator.choice(axes))
        size = observed.shape[axis]
        lines = np.arange(generator.integers(min(gap, size)), size, gap)
        return observed & _at(observed.shape, axis, lines)
    if kind < config.slices + config.lines + config.voxels:
        return observed & (generator.random(observed.shape) < generator.uniform(*config.shown))
    return observed


def _normal(observed: Part) -> int | None:
    """Returns the axis across the slices that a patch shows parts of; None where none is."""
    for axis in range(observed.ndim):
        there = np.flatnonzero(observed.any(axis=_others(observed, axis)))
        apart = len(there) > 1 and np.diff(there).max() > 1
        if apart and observed.take(there, axis).mean() > 0.5:
            return axis
    return None


def _others(observed: Part, axis: int) -> tuple[int, ...]:
    return tuple(n for n in range(observed.ndim) if n != axis)


def _at(shape: tuple[int, ...], axis: int, places: np.ndarray) -> Part:
    """Returns which voxels lie at some places along an axis, to be broadcast."""
    inside = np.zeros(shape[axis], bool)
    inside[places] = True
    return inside.reshape([-1 if n == axis else 1 for n in range(len(shape))])
