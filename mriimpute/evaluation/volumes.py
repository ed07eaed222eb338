"""Volumes as a user measures them: in the mean, and in every draw, pooled by Rubin's rules.

tissue      Three classes by intensity, 1, 2 and 3 from dark to bright, between limits that a user
            has: see `mriimpute.evaluation.tissues`. W, the variance within draws, is by how much
            a volume would move with the limits, had others of the slices been acquired.
structure   Those of the label map, found by place and intensity as `reference_features` says. The
            rule is one and the same for all images, so W is 0.

Only missing voxels count, as everywhere.

Axes: n = voxels of the region, s = draws, v = volumes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64
from scipy import stats

from mriimpute import metrics
from mriimpute.evaluation.case import TestCase
from mriimpute.evaluation.reference_features import Structures, structure_voxels
from mriimpute.evaluation.tissues import Limits, TissueLimits

__all__ = [
    "MeasuredVolume",
    "VolumeScores",
    "measured_structures",
    "measured_tissues",
    "score_volumes",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredVolume:
    """The volume of one tissue or structure among the missing voxels, in ml.

    Attributes:
        kind: "tissue" or "structure".
        label: 1, 2, 3 from dark to bright, or the integer in the label map.
        truth: In the truth.
        mean: In the conditional mean.
        draws: Mean over draws; NaN without draws, as all that follows.
        within: W, variance of the segmentation.
        between: B, variance over draws.
        dof: Degrees of freedom of the interval.
        low: Lower end of the 90 % interval.
        high: Upper end.
    """

    kind: str
    label: int
    truth: float
    mean: float
    draws: float = math.nan
    within: float = math.nan
    between: float = math.nan
    total: float = math.nan
    dof: float = math.nan
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeScores:
    """Scores of the volumes of one kind; `definitions` in the summary says what each is."""

    volume_error_percent: float
    volume_draws_percent: float
    volume_coverage90: float
    volume_coverage90_draws: float
    volume_error_stds: float


def measured_tissues(
    case: TestCase,
    limits: TissueLimits | None,
    mean: Float32[np.ndarray, " n"],
    draws: Float32[np.ndarray, "s n"] | None,
) -> tuple[MeasuredVolume, ...]:
    """Returns the volumes of the tissues that the truth has; none without limits.

    Args:
        case: The test case.
        limits: Between its tissues.
        mean: The imputed voxels of the region.
        draws: The same of each draw, at least two; None for a method that gives none.
    """
    if limits is None:
        return ()

    def found(image: Float32[np.ndarray, " n"]) -> tuple[Float64[np.ndarray, " v"], ...]:
        ordered = np.sort(image)
        volumes = _sizes(ordered, limits.acquired)
        others = np.array([_sizes(ordered, half) for half in limits.half_samples])
        if not len(others):
            return volumes, np.zeros_like(volumes)
        return volumes, limits.missing_share * np.square(others - volumes).mean(axis=0)

    return _measured(
        case,
        "tissue",
        range(1, metrics.CLASSES + 1),
        _sizes(np.sort(case.truth[case.region]), limits.truth),
        found(mean)[0],
        None if draws is None else [found(draw) for draw in draws],
    )


def measured_structures(
    case: TestCase,
    structures: Structures | None,
    labels: Sequence[int],
    mean: Float32[np.ndarray, " n"],
    draws: Float32[np.ndarray, "s n"] | None,
) -> tuple[MeasuredVolume, ...]:
    """Returns the volumes of structures; none without a label map.

    Args:
        case: The test case.
        structures: How its structures are found.
        labels: Those that are measured.
        mean: The imputed voxels of the region.
        draws: The same of each draw, at least two; None for a method that gives none.
    """
    if structures is None or not labels:
        return ()

    def found(image: Float32[np.ndarray, " n"] | None) -> Float64[np.ndarray, " v"]:
        voxels = structure_voxels(structures, image)
        return np.array([voxels[label] for label in labels], np.float64)

    return _measured(
        case,
        "structure",
        labels,
        found(None),
        found(mean),
        None if draws is None else [(found(draw), np.zeros(len(labels))) for draw in draws],
    )


def score_volumes(volumes: Sequence[MeasuredVolume]) -> VolumeScores:
    """Returns the scores of volumes of one scan; NaN where there are none, or no draws."""
    if not volumes:
        return VolumeScores(**dict.fromkeys(VolumeScores.__slots__, math.nan))
    truth, mean, draws, total, low, high = (
        np.array([getattr(volume, name) for volume in volumes])
        for name in ("truth", "mean", "draws", "total", "low", "high")
    )
    error = draws - truth
    with np.errstate(divide="ignore", invalid="ignore"):
        in_stds = np.where(error == 0, 0.0, error / np.sqrt(total))
    alone = np.array([_reach_of_draws_alone(volume) for volume in volumes])
    return VolumeScores(
        volume_error_percent=100 * float(np.mean(abs(mean - truth) / truth)),
        volume_draws_percent=100 * float(np.mean(abs(error) / truth)),
        volume_coverage90=_coverage(truth, low, high),
        volume_coverage90_draws=_coverage(truth, draws - alone, draws + alone),
        volume_error_stds=math.sqrt(np.square(in_stds).mean()),
    )


def _coverage(
    truth: Float64[np.ndarray, " v"],
    low: Float64[np.ndarray, " v"],
    high: Float64[np.ndarray, " v"],
) -> float:
    return math.nan if np.isnan(low).any() else metrics.coverage(truth, low, high)


def _reach_of_draws_alone(volume: MeasuredVolume) -> float:
    """Returns half of the length of the 90 % interval if W were 0."""
    missing = volume.total - volume.within
    if not missing:
        return 0.0
    dof = volume.dof / (1 + volume.within / missing) ** 2
    return float(stats.t.ppf(0.95, dof)) * math.sqrt(missing)


def _measured(
    case: TestCase,
    kind: str,
    labels: Sequence[int],
    truth: Float64[np.ndarray, " v"],
    mean: Float64[np.ndarray, " v"],
    draws: Sequence[tuple[Float64[np.ndarray, " v"], ...]] | None,
) -> tuple[MeasuredVolume, ...]:
    """Returns what was found in voxels as volumes in ml, pooled; what the truth lacks is left out.

    Args:
        case: Whose voxels.
        kind: Of the volumes.
        labels: Of each.
        truth: Voxels of the truth.
        mean: Voxels of the mean.
        draws: Voxels of each draw, and the variances of these.
    """
    ml = abs(float(np.linalg.det(case.volume.affine[:3, :3]))) / 1000
    pooled = {}
    if draws is not None:
        rubin = metrics.pool(*(np.stack(part) for part in zip(*draws, strict=True)), level=0.9)
        low, high = rubin.interval
        pooled = {
            "draws": ml * rubin.estimate,
            "within": ml**2 * rubin.within,
            "between": ml**2 * rubin.between,
            "total": ml**2 * rubin.total,
            "dof": rubin.dof,
            "low": ml * low,
            "high": ml * high,
        }
    return tuple(
        MeasuredVolume(
            kind=kind,
            label=int(label),
            truth=float(ml * truth[v]),
            mean=float(ml * mean[v]),
            **{name: float(np.asarray(of)[v]) for name, of in pooled.items()},
        )
        for v, label in enumerate(labels)
        if truth[v] > 0
    )


def _sizes(ordered: Float32[np.ndarray, " n"], limits: Limits) -> Float64[np.ndarray, " v"]:
    """Returns the voxels of each class of sorted intensities, as `np.digitize` sees them."""
    ends = [0, *np.searchsorted(ordered, limits, side="left"), len(ordered)]
    return np.diff(ends).astype(np.float64)
