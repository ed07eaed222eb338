"""Means over the regions of a label map: is the uncertainty of a whole structure right?

The mean over a region averages the errors of its voxels. Draws whose voxels err independently
agree about it far too well, however well each single voxel is covered: only draws that err
together where the truth does cover it.

Two kinds of region. "region" is the voxels of a label. Whoever drew them saw the truth, and a
voxel is called ventricle because it is dark: even exact draws are then not covered as often as
stated. "carried" is every voxel that gets the label from the nearest acquired slice: chosen
without what is missing, so exact draws cover it exactly as often as stated.

Axes: n = voxels that are scored, s = draws, r = regions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int

from mriimpute import metrics

__all__ = [
    "KINDS",
    "MIN_REGION_VOXELS",
    "REGION_METRICS",
    "Region",
    "RegionScores",
    "finite_mean",
    "regional_means",
    "score_regions",
]

KINDS = ("region", "carried")
"""How the voxels of a label are chosen."""

REGION_METRICS = (
    *(
        f"{kind}_{name}"
        for kind in KINDS
        for name in ("coverage90", "error_percent", "spread_skill", "error_stds")
    ),
    "structure_dice",
    "structure_volume_error_percent",
    "structure_volume_draws_percent",
    "structure_volume_coverage90",
    "structure_volume_coverage90_draws",
    "structure_volume_error_stds",
)
"""The scores that only a scan with a label map has."""

MIN_REGION_VOXELS = 100
"""Regions with fewer voxels to score are left out: their means are as noisy as voxels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Means over the scored voxels of one label, in intensity units.

    Attributes:
        kind: "region": the voxels of the label; "carried": those whose nearest acquired voxel
            along the slice axis has it.
        label: Its integer in the label map.
        voxels: How many of its voxels are scored.
        truth: Mean of the truth.
        mean: Mean of the conditional mean.
        low: Lower end of the central 90 % of the draws' means; NaN for too few draws or none.
        high: Upper end.
        std: Standard deviation of the draws' means; NaN without draws.
        dice: Overlap of the structure found in the imputed image with that found in the truth;
            NaN for "carried".
        volume_error_percent: How much larger it is found in the imputed image; NaN for "carried".
    """

    kind: str
    label: int
    voxels: int
    truth: float
    mean: float
    low: float
    high: float
    std: float
    dice: float = math.nan
    volume_error_percent: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionScores:
    """Scores of regional means; `definitions` in the summary says what each is."""

    coverage90: float
    error_percent: float
    spread_skill: float
    error_stds: float


def regional_means(
    kind: str,
    labels: Int[np.ndarray, " n"],
    truth: Float[np.ndarray, " n"],
    mean: Float[np.ndarray, " n"],
    draws: Float[np.ndarray, "s n"] | None,
) -> tuple[Region, ...]:
    """Returns the regions with enough voxels, by label; zero is background and no region.

    Args:
        kind: How the labels were chosen.
        labels: Of each voxel that is scored; zero and below is no region.
        truth: In input units.
        mean: The imputed values.
        draws: None for a method that gives none; fewer than 19 give no interval.
    """
    names, region, counts = np.unique(labels, return_inverse=True, return_counts=True)

    def averaged(image: Float[np.ndarray, " n"]) -> Float64[np.ndarray, " r"]:
        return np.bincount(region, weights=image, minlength=len(names)) / counts

    true, imputed = averaged(truth), averaged(mean)
    low, high, std = _interval_and_std(
        None if draws is None else np.stack([averaged(draw) for draw in draws]), len(names)
    )
    return tuple(
        Region(
            kind=kind,
            label=int(name),
            voxels=int(counts[r]),
            truth=float(true[r]),
            mean=float(imputed[r]),
            low=float(low[r]),
            high=float(high[r]),
            std=float(std[r]),
        )
        for r, name in enumerate(names)
        if name > 0 and counts[r] >= MIN_REGION_VOXELS
    )


def score_regions(regions: Sequence[Region], data_ranges: float | Sequence[float]) -> RegionScores:
    """Returns the scores of regions of one scan, or of one label over scans; NaN for none.

    Args:
        regions: Of one scan, or of one label.
        data_ranges: Intensity that counts as the whole range: of the scan, or of each region's.
    """
    if not regions:
        return RegionScores(**dict.fromkeys(RegionScores.__slots__, math.nan))

    truth, mean, low, high, std = (
        np.array([getattr(region, name) for region in regions]) / data_ranges
        for name in ("truth", "mean", "low", "high", "std")
    )
    error = mean - truth
    rms = _rms(error)
    with np.errstate(divide="ignore", invalid="ignore"):
        stds = np.where((error == 0) & np.isfinite(std), 0.0, error / std)
    return RegionScores(
        coverage90=math.nan if np.isnan(low).any() else metrics.coverage(truth, low, high),
        error_percent=100 * rms,
        spread_skill=_ratio(_rms(std), rms),
        error_stds=_rms(stds),
    )


def finite_mean(values: Sequence[float]) -> float:
    """Returns the mean of the finite values; NaN without any."""
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan


def _interval_and_std(
    means: Float64[np.ndarray, "s r"] | None, regions: int
) -> tuple[Float64[np.ndarray, " r"], Float64[np.ndarray, " r"], Float64[np.ndarray, " r"]]:
    """Returns the ends of the draws' central 90 % and their standard deviation."""
    unknown = np.full(regions, np.nan)
    if means is None:
        return unknown, unknown, unknown
    std: Float64[np.ndarray, " r"] = means.std(axis=0, ddof=1)
    if len(means) < metrics.COVERAGE_DRAWS:
        return unknown, unknown, std
    low, high = metrics.interval(means, level=0.9)
    return low, high, std


def _rms(values: Float64[np.ndarray, " r"]) -> float:
    return math.sqrt(np.square(values).mean())


def _ratio(std: float, error: float) -> float:
    if math.isnan(std):
        return math.nan
    return std / error if error else math.inf
