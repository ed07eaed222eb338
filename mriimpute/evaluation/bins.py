"""The scores of one method on one scan by where voxels lie: far from slices, or at edges."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from mriimpute.evaluation.case import TestCase
from mriimpute.evaluation.prediction import Prediction

__all__ = ["BIN_METRICS", "EDGE_STEPS", "Bin", "bins_of"]

BIN_METRICS = ("psnr_db", "mae_percent", "crps_percent", "coverage90", "spread_skill")
"""The scores of a bin."""

EDGE_STEPS = {"flat": 0, "edge": 1}
"""What the steps of a bin of kind "edge" stand for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """The scores of the voxels at one distance, one offset, or at edges.

    Attributes:
        kind: "distance" to the nearest acquired slice, "offset" from the one before it, or
            "edge": whether the truth has an edge there.
        steps: That many voxels; 1 at an edge, 0 off edges.
        mm: That far; NaN for edges.
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


def bins_of(
    case: TestCase, prediction: Prediction, edges: Bool[np.ndarray, " n"]
) -> tuple[Bin, ...]:
    """Returns the bins by distance, then those by offset where there is one, then by edge.

    Args:
        case: Where the voxels lie.
        prediction: Of all voxels of the region.
        edges: Which of them are edges of the truth.
    """
    offsets = case.offsets()
    steps_of = {"distance": case.distances()} | ({} if offsets is None else {"offset": offsets})
    step_mm = case.volume.spacing_mm[0 if case.stack is None else case.stack.axis]
    kinds = [(kind, steps, step_mm) for kind, steps in steps_of.items()]
    kinds.append(("edge", edges.astype(np.int64), math.nan))
    return tuple(
        _bin(kind, step, step * mm, prediction.at(steps == step))
        for kind, steps, mm in kinds
        for step in np.unique(steps).tolist()
    )


def _bin(kind: str, steps: int, mm: float, prediction: Prediction) -> Bin:
    return Bin(
        kind=kind,
        steps=steps,
        mm=mm,
        voxels=len(prediction.truth),
        psnr_db=prediction.psnr(),
        mae_percent=prediction.mae_percent(),
        crps_percent=prediction.crps_percent(),
        coverage90=prediction.coverage(0.9),
        spread_skill=prediction.spread_skill(),
    )
