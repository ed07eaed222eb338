"""Features of the truth that every method is compared with: edges, tissues, structures, stripes.

Axes: n = voxels of the region.
"""

import math
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
    """Features of the truth of a test case, computed once for all methods.

    Attributes:
        edges: Which voxels of the region are edges.
        thresholds: Between tissue classes, in input units; None where there is one class.
        stripes: `stripes_of` the truth itself; NaN without slices.
        structures: How structures are found in an image; None without a label map.
    """

    edges: Bool[np.ndarray, " n"]
    thresholds: Float[np.ndarray, " limits"] | None
    stripes: float
    structures: Structures | None


@lru_cache(maxsize=1)
def reference_features(case: TestCase) -> ReferenceFeatures:
    """Returns the features of a case; those of the last one are cached, for the next method."""
    return ReferenceFeatures(
        edges=metrics.edges(case.truth, region=case.region),
        thresholds=metrics.tissue_thresholds(case.truth[case.region]),
        stripes=stripes_of(case.truth, case),
        structures=None if case.labels is None else structures_of(case),
    )


def stripes_of(image: Float32[np.ndarray, "i j k"], case: TestCase) -> float:
    """Returns the energy of fine detail in imputed slices over that in acquired ones.

    NaN off a stack.
    """
    if case.stack is None:
        return math.nan
    acquired = case.brain & case.volume.observed
    return metrics.stripes(image, missing=case.region, acquired=acquired, axis=case.stack.axis)
