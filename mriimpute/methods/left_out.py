"""How predictions do on acquired slices that were left out: across slices, not inside them.

Whichever method predicts them: every second slice is left out and predicted from the others.

Axes: any; what is added has the same ones.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from mriimpute.methods.self_calibration import TINY, HiddenScore, hidden_score

__all__ = ["FEWEST_SLICES", "LeftOut", "LeftOutErrors", "left_out_quality", "pixel_step"]

log = logging.getLogger(__name__)

Voxels = Float32[np.ndarray, "..."]

PIXEL_STEP, STEP_MM = 4, 6.0
"""Of so many pixels at least, along each axis of a slice that was left out, one is looked at, and
one in so many mm: errors of neighbours are alike."""

FEWEST_SLICES = 5
"""At equal distances, to leave out every second one."""

FEWEST_PIXELS = 500
"""Of the head on slices that were left out, to say anything about errors."""

LARGEST_CORRECTION = 2.0
"""Of the std by slices that were left out, and inverse of the smallest."""


@dataclass(frozen=True, slots=True, eq=False)
class LeftOut:
    """How predictions do on every second acquired slice, which was left out.

    Attributes:
        gap: From one slice that was kept to the next, in voxels.
        error_over_std: By how much errors are larger than the std of lines says.
        correction: What the std is multiplied by: the same, within bounds.
        score: Once the std is corrected by that.
        shrinkage: How far predictions at that gap went from interpolation, at each offset.
    """

    gap: int
    error_over_std: float
    correction: float
    score: HiddenScore
    shrinkage: NDArray[np.float32]


class LeftOutErrors:
    """Adds up errors on slices that were left out, where the head is."""

    def __init__(self) -> None:
        self.squares = self.variances = 0.0
        self.interpolated = np.zeros(2)
        self.white: list[NDArray[np.float32]] = []

    def add(
        self,
        missed: Voxels,
        mean: Voxels,
        variance: Voxels,
        linear: Voxels,
        pchip: Voxels,
        foreground: float,
    ) -> None:
        """Adds some.

        Args:
            missed: What was left out.
            mean: Predicted of it.
            variance: Of that.
            linear: By linear interpolation: where it is brighter than `foreground`, the head is.
            pchip: By PCHIP interpolation.
            foreground: Intensity that separates the head from the air.
        """
        head = (linear > foreground) & np.isfinite(missed)
        error, own = (mean - missed)[head], variance[head]
        self.squares += float(np.square(error).sum())
        self.variances += float(own.sum())
        self.interpolated += [
            float(np.square((by - missed)[head]).sum()) for by in (linear, pchip)
        ]
        self.white.append(error / np.sqrt(np.maximum(own, TINY)))

    def result(self, gap: int, shrinkage: NDArray[np.float32]) -> LeftOut | None:
        """Returns what they say; None where they are too few.

        Args:
            gap: See `LeftOut`.
            shrinkage: The same.
        """
        if sum(part.size for part in self.white) < FEWEST_PIXELS or self.variances == 0:
            return None
        ratio = float(np.sqrt(self.squares / self.variances))
        log.debug("errors on left-out slices: %.2f times the expected", ratio)
        correction = float(np.clip(ratio, 1 / LARGEST_CORRECTION, LARGEST_CORRECTION))
        corrected = [part / np.float32(correction) for part in self.white]
        score = hidden_score(self.squares, self.interpolated.tolist(), corrected)
        return LeftOut(gap, ratio, correction, score, shrinkage)


def pixel_step(pixel_mm: Iterable[float]) -> int:
    """Returns of how many pixels along an axis of a slice one is looked at.

    Args:
        pixel_mm: Their sides.
    """
    return max(PIXEL_STEP, round(STEP_MM / max(pixel_mm)))


def left_out_quality(left_out: Mapping[int, LeftOut]) -> dict[str, Any]:
    """Returns what acquired slices that were left out show, by size of the gap of the scan."""
    return {
        str(gap): {
            "pixels": one.score.pixels,
            "gap": one.gap,
            "error_over_std": round(one.error_over_std, 4),
            "gain_db": round(one.score.gain_db, 4),
            "coverage_90": round(one.score.coverage, 4),
        }
        for gap, one in sorted(left_out.items())
    }
