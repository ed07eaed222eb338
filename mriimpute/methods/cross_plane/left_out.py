"""How predictions do on acquired slices that were left out: across slices, not inside them.

Axes: p = along the slice axis, x and y = inside a slice.
"""

from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Float32

from mriimpute.cohort.slices import SliceScan
from mriimpute.methods.cross_plane.calibration import LinePredictor
from mriimpute.methods.cross_plane.planes import Steps, crossing
from mriimpute.methods.cross_plane.runs import EvenRun
from mriimpute.methods.fusion import correlation
from mriimpute.methods.left_out import FEWEST_SLICES, LeftOut, LeftOutErrors, pixel_step
from mriimpute.methods.lines import pchip_between

__all__ = ["on_left_out_slices"]

Slabs = Float32[np.ndarray, "p x y"]


def on_left_out_slices(
    slabs: Slabs,
    runs: Sequence[EvenRun],
    whole: Collection[int],
    steps_mm: Steps,
    predictor: LinePredictor,
    scan: SliceScan,
) -> LeftOut | None:
    """Returns how large errors across slices are, against what lines inside them say.

    Every second slice is left out and predicted from the others; of its pixels some alone,
    see `pixel_step`, are looked at. None where slices are too few to tell.

    Args:
        slabs: Normalised; acquired slices are as they were acquired.
        runs: All of one gap.
        whole: Where acquired slices without holes lie: others are no truth.
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
    errors, step = LeftOutErrors(), pixel_step(np.linalg.norm(steps_mm[1:], axis=1).tolist())
    for run in known:
        kept = slabs[list(run.positions[::2])]
        *planes, moments = crossing(kept, 2 * gap, steps_mm, wide, every=step)
        places = run.positions[1::2][: len(kept) - 1]
        missed = slabs[list(places), ::step, ::step].copy()
        missed[[place not in whole for place in places]] = np.nan
        between = 0.5 * (kept[:-1, ::step, ::step] + kept[1:, ::step, ::step])
        common = correlation(moments)[gap - 1]
        smooth = pchip_between(kept[:, ::step, ::step].transpose(1, 0, 2), 2 * gap)[:, gap - 1]
        smooth = smooth.transpose(1, 0, 2)
        middle, alone, shared = (part[:, gap - 1].cpu().numpy() for part in planes)
        mean = smooth + fraction * (middle - smooth)
        errors.add(missed, mean, alone + common * shared, between, smooth, scan.foreground)
    return errors.result(2 * gap, wide.shrinkage(2 * gap))
