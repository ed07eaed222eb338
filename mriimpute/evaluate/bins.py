"""The scores of one method on one scan by how far its voxels lie from acquired slices."""

from dataclasses import dataclass

import numpy as np

from mriimpute import metrics
from mriimpute.evaluate.answer import Answer
from mriimpute.evaluate.cases import Exam

__all__ = ["BIN_METRICS", "Bin", "bins_of"]

BIN_METRICS = ("psnr_db", "mae_percent", "crps_percent", "coverage90", "spread_skill")
"""The scores of a bin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """The scores of the voxels that lie equally far from acquired slices.

    Attributes:
        kind: "distance" to the nearest acquired slice, or "offset" from the one before it.
        steps: That many voxels.
        mm: That far.
        voxels: How many there are.
        psnr_db: Of these voxels, as the scores below.
    """

    kind: str
    steps: int
    mm: float
    voxels: int
    psnr_db: float
    mae_percent: float
    crps_percent: float
    coverage90: float
    spread_skill: float


def bins_of(exam: Exam, answer: Answer) -> tuple[Bin, ...]:
    """Returns the bins by distance, then those by offset where there is one.

    Args:
        exam: Where the voxels lie.
        answer: Of all voxels of its region.
    """
    offsets = exam.offsets()
    kinds = {"distance": exam.distances()} | ({} if offsets is None else {"offset": offsets})
    step_mm = exam.volume.spacing_mm[0 if exam.stack is None else exam.stack.axis]
    return tuple(
        _bin(kind, step, step * step_mm, answer.at(steps == step), exam.data_range)
        for kind, steps in kinds.items()
        for step in np.unique(steps).tolist()
    )


def _bin(kind: str, steps: int, mm: float, answer: Answer, data_range: float) -> Bin:
    percent = 100 / data_range
    return Bin(
        kind=kind,
        steps=steps,
        mm=mm,
        voxels=len(answer.truth),
        psnr_db=metrics.psnr(answer.truth, answer.mean, data_range=data_range),
        mae_percent=percent * metrics.mae(answer.truth, answer.mean),
        crps_percent=percent * answer.crps(),
        coverage90=answer.coverage90(),
        spread_skill=answer.spread_skill(),
    )
