"""What of a truth is looked up for every method: edges, tissues, structures, fine detail.

Axes: n = voxels of the region.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Float32

from mriimpute import metrics
from mriimpute.evaluate.structures import Structures, structures_of
from mriimpute.evaluate.test_case import TestCase

__all__ = ["ReferenceFeatures", "reference_features", "stripes_of"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReferenceFeatures:
    """The answer to an case, prepared for marking.

    Attributes:
        edges: Which voxels of the region are edges.
        thresholds: Between tissue classes; None where all is one.
        stripes: What `metrics.stripes` gives for the truth itself; NaN without slices.
        structures: How structures are found in an image; None without a label map.
    """

    edges: Bool[np.ndarray, " n"]
    thresholds: Float[np.ndarray, " limits"] | None
    stripes: float
    structures: Structures | None


@lru_cache(maxsize=1)
def reference_features(case: TestCase) -> ReferenceFeatures:
    """Returns the features of an case; that of the last one is kept, for the next method."""
    return ReferenceFeatures(
        edges=metrics.edges(case.truth, region=case.region),
        thresholds=metrics.tissue_thresholds(case.truth[case.region]),
        stripes=stripes_of(case.truth, case),
        structures=None if case.labels is None else structures_of(case),
    )


def stripes_of(image: Float32[np.ndarray, "i j k"], case: TestCase) -> float:
    """Returns the energy of fine detail in imputed slices over that in acquired ones.

    NaN where what is missing are no slices.
    """
    if case.stack is None:
        return float("nan")
    acquired = case.brain & case.volume.observed
    return metrics.stripes(image, missing=case.region, acquired=acquired, axis=case.stack.axis)
