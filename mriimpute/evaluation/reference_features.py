"""Features of the truth that predictions are compared with: edges, tissues, stripes, structures.

Structures are found in an image by their intensities, near where the label map has them. No
segmentation network is at hand in a hospital that has not installed one, and none is the same in
two years. This rule is fixed: each voxel gets the label of highest posterior,

    log p(label | place) + log N(intensity; mean and std of the label in the truth)

where p(label | place) is the label map of the truth, smoothed. It finds structures in the truth
and in the imputed image in the same way, so what differs is what the image lost. Structures whose
borders no intensity shows are told apart by their places alone, and score well with any image.

Axes: n = voxels of the region, m = voxels near one label.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int
from scipy import ndimage

from mriimpute import metrics
from mriimpute.evaluation.case import TestCase
from mriimpute.evaluation.regions import Region
from mriimpute.evaluation.tissues import TissueLimits, tissue_limits
from mriimpute.metrics.structure import widened

__all__ = [
    "ReferenceFeatures",
    "Structures",
    "reference_features",
    "stripes_of",
    "structure_voxels",
    "with_structure_scores",
]

SMOOTHING_VOXELS = 1.5  # sigma, of the label map
REACH_VOXELS = 5  # around a structure where it may be found
MIN_PRIOR = 1e-3  # p(label | place) below this counts as zero
STD_FLOOR_PERCENT = 0.5  # of the data range: a structure may be of one intensity


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelModel:
    """Prior and likelihood of one structure.

    Attributes:
        label: Its integer in the label map.
        index: Of voxels where it may be, among those of the region.
        log_prior: log p(label | place) of these voxels.
        mean: Of its intensities in the truth.
        std: Of its intensities in the truth.
    """

    label: int
    index: Int[np.ndarray, " m"]
    log_prior: Float32[np.ndarray, " m"]
    mean: float
    std: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Structures:
    """How structures are segmented in an image, and their segmentation of the truth.

    Attributes:
        models: One for each label.
        truth: The segmentation of the truth: a label per voxel of the region.
    """

    models: tuple[LabelModel, ...]
    truth: Int[np.ndarray, " n"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReferenceFeatures:
    """Features of the truth of a test case, computed once for all methods.

    Attributes:
        edges: Which voxels of the region are edges.
        limits: Between tissues; None for fewer than three intensities.
        stripes: `stripes_of` the truth itself; NaN without slices.
        structures: How structures are found in an image; None without a label map.
    """

    edges: Bool[np.ndarray, " n"]
    limits: TissueLimits | None
    stripes: float
    structures: Structures | None


@lru_cache(maxsize=1)
def reference_features(case: TestCase) -> ReferenceFeatures:
    """Returns the features of a case; those of the last one are cached, for the next method."""
    return ReferenceFeatures(
        edges=metrics.edges(case.truth, region=case.region),
        limits=tissue_limits(case),
        stripes=stripes_of(case.truth, case),
        structures=None if case.labels is None else _structures(case, case.labels),
    )


def stripes_of(image: Float32[np.ndarray, "i j k"], case: TestCase) -> float:
    """Returns the energy of fine detail in imputed slices over that in acquired ones.

    NaN off a stack.
    """
    if case.stack is None:
        return math.nan
    acquired = case.brain & case.volume.observed
    return metrics.stripes(image, missing=case.region, acquired=acquired, axis=case.stack.axis)


def with_structure_scores(
    structures: Structures, mean: Float32[np.ndarray, " n"], regions: Sequence[Region]
) -> tuple[Region, ...]:
    """Returns the regions, those of kind "region" with Dice and volume error.

    Args:
        structures: Of the test case.
        mean: The imputed voxels of the region, in order.
        regions: Of the same image.
    """
    image = _segment(mean, structures.models)
    same = structures.truth == image
    both, true, imputed = (_counts(labels) for labels in (image[same], structures.truth, image))
    return tuple(
        replace(
            region,
            dice=_ratio(2 * both[region.label], true[region.label] + imputed[region.label]),
            volume_error_percent=100
            * _ratio(imputed[region.label] - true[region.label], true[region.label]),
        )
        if region.kind == "region"
        else region
        for region in regions
    )


def structure_voxels(
    structures: Structures, image: Float32[np.ndarray, " n"] | None = None
) -> Counter[int]:
    """Returns how many voxels of each structure are found in an image.

    Args:
        structures: Of the test case.
        image: The voxels of the region, in order; None: of the truth.
    """
    return _counts(structures.truth if image is None else _segment(image, structures.models))


def _structures(case: TestCase, label_map: Int[np.ndarray, "i j k"]) -> Structures:
    """Returns the models of the structures of a label map."""
    # Numbered anew: an atlas may have labels in the millions, and arrays would be as long.
    in_brain = np.where(case.brain, np.maximum(label_map, 0), 0)
    names, labels = np.unique(in_brain, return_inverse=True)
    labels = labels.reshape(case.brain.shape) + int(names[0] > 0)
    index = np.where(case.region, np.cumsum(case.region).reshape(case.region.shape) - 1, -1)
    floor = STD_FLOOR_PERCENT / 100 * case.data_range
    models = tuple(
        replace(_model(case.truth, labels, index, number, box, floor), label=int(name))
        for number, (name, box) in enumerate(
            zip(names[names > 0], ndimage.find_objects(labels), strict=True), start=1
        )
    )
    return Structures(models=models, truth=_segment(case.truth[case.region], models))


def _model(
    truth: Float32[np.ndarray, "i j k"],
    labels: Int[np.ndarray, "i j k"],
    index: Int[np.ndarray, "i j k"],
    label: int,
    box: tuple[slice, ...],
    floor: float,
) -> LabelModel:
    wide = widened(box, REACH_VOXELS)
    inside = labels[wide] == label
    prior = ndimage.gaussian_filter(
        inside.astype(np.float32), SMOOTHING_VOXELS, radius=REACH_VOXELS
    )
    near = (prior >= MIN_PRIOR) & (index[wide] >= 0)
    values = truth[wide][inside].astype(np.float64)
    return LabelModel(
        label=label,
        index=index[wide][near],
        log_prior=np.log(prior[near]),
        mean=float(values.mean()),
        std=max(float(values.std()), floor),
    )


def _segment(
    values: Float32[np.ndarray, " n"], models: Sequence[LabelModel]
) -> Int[np.ndarray, " n"]:
    """Returns the label of highest posterior; zero where none may be."""
    best: Float64[np.ndarray, " n"] = np.full(len(values), -np.inf)
    chosen = np.zeros(len(values), np.int64)
    for model in models:
        z = (values[model.index].astype(np.float64) - model.mean) / model.std
        score = model.log_prior - 0.5 * np.square(z) - math.log(model.std)
        better = score > best[model.index]
        index = model.index[better]
        best[index], chosen[index] = score[better], model.label
    return chosen


def _counts(labels: Int[np.ndarray, " n"]) -> Counter[int]:
    names, counts = np.unique(labels, return_counts=True)
    return Counter(dict(zip(names.tolist(), counts.tolist(), strict=True)))


def _ratio(part: int, whole: int) -> float:
    return float(part / whole) if whole else math.nan
