"""How much of what companions say inside slices transfers to images across them.

Slices that were left out tell.

A scan that was interpolated along its slice axis, or whose slices are thick, holds less between
slices than between lines. Images that cross the slices are made of every second one; those that
were left out are their hidden lines, of which only the middle of each gap is known. What is
learnt on hidden lines inside slices, at that same gap, is asked there: by how much its answers are
too large, the companions say less across slices than inside.

Axes: p = along the slice axis, x and y = inside a slice, b = images, w = pixels of a line,
t = offsets inside a gap, m = gaps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from mriimpute.cohort.foreground import depths_mm, foreground_level
from mriimpute.device import on_device
from mriimpute.methods.cross_plane.exam import Exam
from mriimpute.methods.cross_plane.hidden_companions import (
    Hidden,
    hidden_lines_of,
    hidden_of,
    slope_of,
)
from mriimpute.methods.cross_plane.innovation import QUICK, fitted
from mriimpute.methods.cross_plane.planes import described
from mriimpute.methods.cross_plane.runs import EvenRun
from mriimpute.methods.self_calibration import INNER_MM, HiddenSlices

__all__ = ["Transfer", "transfer_of", "transfer_quality"]

Slabs = Float32[np.ndarray, "p x y"]

APART_MM = 8.0
"""From one image to the next: innovations of neighbours are alike."""

SLICES = 10
"""In which lines are hidden, to compare with."""

FEWEST_PIXELS = 2000
"""On slices that were left out, to say anything."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """What slices that were left out say of companions.

    Attributes:
        fraction: Of what is said inside slices that holds across them, in [0, 1].
        gain_db: In PSNR on them, at best: with the fraction that suits them.
    """

    fraction: float
    gain_db: float


def transfer_quality(transfer: Transfer | None) -> dict[str, float | None]:
    """Returns what slices that were left out say of companions, for the record."""
    return {
        "companions_slices_gain_db": round(transfer.gain_db, 4) if transfer else None,
        "companions_believed": round(transfer.fraction, 4) if transfer else None,
    }


def transfer_of(slabs: Slabs, exam: Exam, runs: Sequence[EvenRun]) -> Transfer | None:
    """Returns how far companions can be believed across slices.

    None where too few pixels tell, or nothing is said of lines at twice the gap.

    Args:
        slabs: Normalised; acquired slices are as they were acquired.
        exam: The scan and its companions. Its predictor shrinks to interpolation as lines inside
            slices ask for, at twice the gap.
        runs: All of one gap.
    """
    gap = 2 * runs[0].gap
    scan, predictor, shown = exam.scan, exam.predictor, exam.shown
    numbers = np.arange(0, len(scan.slices), max(1, -(-len(scan.slices) // SLICES)))
    learning, judging = (
        list(hidden_lines_of(scan, shown, some, gap, predictor, deep_mm=INNER_MM))
        for some in (numbers[::2], numbers[1::2])
    )
    across = [one for run in runs for one in _left_out(slabs, exam, run)]
    if not learning or not judging or not across:
        return None
    examples = [one.example for one in learning]
    network = fitted(
        examples, seed=exam.seed, case=exam.case, device=predictor.device, config=QUICK
    )
    if network is None:
        return None
    inside, *_ = slope_of(network, judging, gap)
    outside, gain_db, pixels = slope_of(network, across, gap)
    if pixels < FEWEST_PIXELS or inside <= 0:
        return None
    return Transfer(float(np.clip(outside / inside, 0, 1)), gain_db)


def _left_out(slabs: Slabs, exam: Exam, run: EvenRun) -> Iterator[Hidden]:
    """Yields images that cross the slices, along either axis, every second slice hidden."""
    scan, predictor, others = exam.scan, exam.predictor, exam.companions
    gap = 2 * run.gap
    kept = run.positions[::2]
    if len(kept) < 2:
        return
    part = slice(kept[0], kept[-1] + 1)
    across, *along = exam.steps_mm
    shrinkage = predictor.shrinkage(gap)
    airs = [foreground_level(np.nan_to_num(one[part][::gap]).ravel()) for one in (slabs, *others)]
    between = 0.5 * (slabs[part][:-1:gap] + slabs[part][gap::gap])
    depths = np.stack([depths_mm(one, scan.foreground, scan.pixel_mm) for one in between])
    missed = np.arange(kept[0] + gap // 2, kept[-1], gap)
    known = np.isin(missed, exam.places)[:, None]  # what fills holes is no truth
    for turn in (False, True):
        every = max(1, round(APART_MM / float(np.linalg.norm(along[turn]))))
        where = described(across, along[not turn])

        def images(stack: Slabs, turn: bool = turn, every: int = every) -> Slabs:
            return np.ascontiguousarray(np.moveaxis(stack, 1 + turn, 0)[::every])

        target, *seen = (images(one[part]) for one in (slabs, *others))
        filled = []
        for lines, air in zip((target, *seen), airs, strict=True):
            context = on_device(np.nan_to_num(lines[:, ::gap]), predictor.device)
            answer, _ = predictor.plane(context, gap, **where, air=air, with_variance=False)
            filled.append(answer.cpu().numpy())
        mean, *told = filled
        hidden, depth = (np.full_like(mean, empty) for empty in (np.nan, 0))
        hidden[:, gap // 2 - 1] = np.where(known, target[:, gap // 2 :: gap], np.nan)
        depth[:, gap // 2 - 1] = images(depths)
        slices = HiddenSlices(turn, target[:, ::gap], hidden, depth)
        yield hidden_of(slices, mean, np.ones_like(mean), seen, told, shrinkage, INNER_MM)
