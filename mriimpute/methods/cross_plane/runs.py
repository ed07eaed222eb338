"""Runs of equal gaps of a slice stack."""

import logging
from dataclasses import dataclass
from itertools import groupby

from mriimpute.errors import listed
from mriimpute.geometry import Stack
from mriimpute.methods.cross_plane.calibration import LinePredictor

__all__ = ["EvenRun", "runs_of", "warn_of_unknown"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EvenRun:
    """Acquired slices that follow each other at equal distances.

    Attributes:
        positions: Of the slices on the target grid; at least two.
        gap: From one to the next, in voxels.
    """

    positions: tuple[int, ...]
    gap: int


def runs_of(stack: Stack, predictor: LinePredictor) -> list[EvenRun]:
    """Returns the runs of gaps that the network knows."""
    runs, start = [], 0
    for gap, group in groupby(stack.gaps):
        count = len(list(group))
        if predictor.knows(gap):
            runs.append(EvenRun(stack.positions[start : start + count + 1], gap))
        start += count
    return runs


def warn_of_unknown(stack: Stack, predictor: LinePredictor) -> None:
    """Logs which gaps the network does not know."""
    if unknown := sorted({gap for gap in stack.gaps if gap > 1 and not predictor.knows(gap)}):
        log.warning(
            "the model knows gaps of up to %d voxels, not %s: interpolated",
            predictor.widest,
            listed(unknown),
        )
