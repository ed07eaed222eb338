"""Structures found in an image by their intensities, near where the label map has them.

No segmentation network is at hand in a hospital that has not installed one, and none is the same
in two years. This one is fixed: each voxel gets the label of highest posterior,

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

import numpy as np
from jaxtyping import Float32, Float64, Int
from scipy import ndimage

from mriimpute.evaluate.regions import Region
from mriimpute.evaluate.test_case import TestCase

__all__ = ["Structures", "found", "structures_of"]

SMOOTHING = 1.5  # voxels, of the label map
REACH = 5  # voxels around a structure where it may be found
LOWEST = 1e-3  # of p(label | place): below, a label is out of the question
STD_FLOOR_PERCENT = 0.5  # of the data range: a structure may be of one intensity


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Site:
    """Where one structure may be, and how bright it is.

    Attributes:
        label: Its integer in the label map.
        places: Among the voxels of the region.
        log_prior: At these places.
        mean: Of its intensities in the truth.
        std: Of its intensities in the truth.
    """

    label: int
    places: Int[np.ndarray, " m"]
    log_prior: Float32[np.ndarray, " m"]
    mean: float
    std: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Structures:
    """How structures are found in an image.

    Attributes:
        sites: One for each label.
        truth: What is found in the truth: a label per voxel of the region.
    """

    sites: tuple[Site, ...]
    truth: Int[np.ndarray, " n"]


def structures_of(case: TestCase) -> Structures:
    """Returns how the structures of the label map of an case are found."""
    # Numbered anew: an atlas may have labels in the millions, and arrays would be as long.
    names, labels = np.unique(np.where(case.brain, _labels(case), 0), return_inverse=True)
    labels = labels.reshape(case.brain.shape) + int(names[0] > 0)
    places = np.where(case.region, np.cumsum(case.region).reshape(case.region.shape) - 1, -1)
    floor = STD_FLOOR_PERCENT / 100 * case.data_range
    sites = tuple(
        replace(_site(case.truth, labels, places, number, box, floor), label=int(name))
        for number, (name, box) in enumerate(
            zip(names[names > 0], ndimage.find_objects(labels), strict=True), start=1
        )
    )
    return Structures(sites=sites, truth=_segment(case.truth[case.region], sites))


def found(
    structures: Structures, mean: Float32[np.ndarray, " n"], regions: Sequence[Region]
) -> tuple[Region, ...]:
    """Returns the regions, those of kind "region" with Dice and volume error.

    Args:
        structures: How they are found.
        mean: What was imputed, the voxels of the region in order.
        regions: Of this image.
    """
    image = _segment(mean, structures.sites)
    same = structures.truth == image
    both, here, there = (_counts(labels) for labels in (image[same], structures.truth, image))
    return tuple(
        replace(
            region,
            dice=_ratio(2 * both[region.label], here[region.label] + there[region.label]),
            volume_error_percent=100
            * _ratio(there[region.label] - here[region.label], here[region.label]),
        )
        if region.kind == "region"
        else region
        for region in regions
    )


def _labels(case: TestCase) -> Int[np.ndarray, "i j k"]:
    if case.labels is None:
        raise ValueError("structures take a label map")
    return np.maximum(case.labels, 0)


def _site(
    truth: Float32[np.ndarray, "i j k"],
    labels: Int[np.ndarray, "i j k"],
    places: Int[np.ndarray, "i j k"],
    label: int,
    box: tuple[slice, ...],
    floor: float,
) -> Site:
    wide = tuple(slice(max(0, edge.start - REACH), edge.stop + REACH) for edge in box)
    own = labels[wide] == label
    prior = ndimage.gaussian_filter(own.astype(np.float32), SMOOTHING, radius=REACH)
    near = (prior >= LOWEST) & (places[wide] >= 0)
    values = truth[wide][own].astype(np.float64)
    return Site(
        label=label,
        places=places[wide][near],
        log_prior=np.log(prior[near]),
        mean=float(values.mean()),
        std=max(float(values.std()), floor),
    )


def _segment(values: Float32[np.ndarray, " n"], sites: Sequence[Site]) -> Int[np.ndarray, " n"]:
    """Returns the label of highest posterior; zero where none is in question."""
    best: Float64[np.ndarray, " n"] = np.full(len(values), -np.inf)
    chosen = np.zeros(len(values), np.int64)
    for site in sites:
        distance = (values[site.places].astype(np.float64) - site.mean) / site.std
        score = site.log_prior - 0.5 * np.square(distance) - math.log(site.std)
        better = score > best[site.places]
        places = site.places[better]
        best[places], chosen[places] = score[better], site.label
    return chosen


def _counts(labels: Int[np.ndarray, " n"]) -> Counter[int]:
    names, counts = np.unique(labels, return_counts=True)
    return Counter(dict(zip(names.tolist(), counts.tolist(), strict=True)))


def _ratio(part: int, whole: int) -> float:
    return float(part / whole) if whole else math.nan
