"""How predictions do on acquired slices that were left out: across slices, not inside them.

Axes: p = along the slice axis, x and y = inside a slice.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from mriimpute.cohort.slices import SliceScan
from mriimpute.methods.cross_plane.calibration import LinePredictor
from mriimpute.methods.cross_plane.planes import Steps, crossing
from mriimpute.methods.cross_plane.runs import EvenRun
from mriimpute.methods.fusion import correlation
from mriimpute.methods.lines import pchip_between
from mriimpute.methods.self_calibration import TINY, HiddenScore, hidden_score

__all__ = ["LeftOut", "left_out_quality", "on_left_out_slices", "pixel_step"]

log = logging.getLogger(__name__)

Slabs = Float32[np.ndarray, "p x y"]

PIXEL_STEP, STEP_MM = 4, 6.0
"""Of so many pixels at least, along each axis of a slice that was left out, one is looked at, and
one in so many mm: errors of neighbours are alike."""

FEWEST_SLICES = 5
"""Of a run, to leave out every second one."""

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
        shrinkage: Of predictions at that gap, at each offset, see `LinePredictor`.
    """

    gap: int
    error_over_std: float
    correction: float
    score: HiddenScore
    shrinkage: NDArray[np.float32]


def on_left_out_slices(
    slabs: Slabs,
    runs: Sequence[EvenRun],
    steps_mm: Steps,
    predictor: LinePredictor,
    scan: SliceScan,
) -> LeftOut | None:
    """Returns by how much errors across slices are larger than those inside them.

    Every second slice is left out and predicted from the others; of its pixels one in `STEP_MM`,
    along both axes, is looked at. None where slices are too few to tell.

    Args:
        slabs: Normalised; acquired slices are as they were acquired.
        runs: All of one gap.
        steps_mm: See `crossing`.
        predictor: Calibrated on lines inside slices of the scan, for that gap.
        scan: The slices.
    """
    gap = runs[0].gap
    known = [run for run in runs if len(run.positions) >= FEWEST_SLICES]
    # A slice that is an average over its profile is no measure of a sharp prediction.
    if not known or not predictor.knows(2 * gap) or predictor.thickness_mm:
        return None
    wide = predictor.calibrated({2 * gap: predictor.self_calibration(scan, 2 * gap)})
    fraction = wide.shrinkage(2 * gap)[gap - 1]
    squares = variances = 0.0
    interpolated_squares, white = np.zeros(2), []
    step = pixel_step(steps_mm)
    for run in known:
        kept = slabs[list(run.positions[::2])]
        *planes, moments = crossing(kept, 2 * gap, steps_mm, wide, every=step)
        missed = slabs[list(run.positions[1::2][: len(kept) - 1]), ::step, ::step]
        between = 0.5 * (kept[:-1, ::step, ::step] + kept[1:, ::step, ::step])
        head = between > scan.foreground
        common = correlation(moments)[gap - 1]
        smooth = pchip_between(kept[:, ::step, ::step].transpose(1, 0, 2), 2 * gap)[:, gap - 1]
        smooth = smooth.transpose(1, 0, 2)
        middle, alone, shared = (part[:, gap - 1].cpu().numpy() for part in planes)
        mean = smooth + fraction * (middle - smooth)
        error, variance = (mean - missed)[head], (alone + common * shared)[head]
        squares += float(np.square(error).sum())
        variances += float(variance.sum())
        interpolated_squares += [
            float(np.square((by - missed)[head]).sum()) for by in (between, smooth)
        ]
        white.append(error / np.sqrt(np.maximum(variance, TINY)))
    if sum(part.size for part in white) < FEWEST_PIXELS or variances == 0:
        return None
    ratio = float(np.sqrt(squares / variances))
    log.debug("errors on %d left-out slices: %.2f times the expected", len(missed), ratio)
    correction = float(np.clip(ratio, 1 / LARGEST_CORRECTION, LARGEST_CORRECTION))
    corrected = [part / np.float32(correction) for part in white]
    score = hidden_score(squares, interpolated_squares.tolist(), corrected)
    return LeftOut(2 * gap, ratio, correction, score, wide.shrinkage(2 * gap))


def pixel_step(steps_mm: Steps) -> int:
    """Returns of how many pixels along an axis one is looked at."""
    return max(PIXEL_STEP, round(STEP_MM / float(np.linalg.norm(steps_mm[1:], axis=1).max())))


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
