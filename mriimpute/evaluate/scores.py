"""The scores of one method on one scan.

Errors are in percent of the data range, so that scans of any intensity scale can be averaged.
A score that a method does not earn is NaN: an interpolator has no interval to be covered.

Axes: n = voxels of the region, s = draws.
"""

import math
import time
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from mriimpute import metrics
from mriimpute.device import TILE
from mriimpute.errors import VolumeError
from mriimpute.evaluate.cases import Exam
from mriimpute.impute import Imputation, Imputer

__all__ = ["METRICS", "Bin", "Row", "examine"]

METRICS = (
    "psnr_db",
    "ssim",
    "mae_percent",
    "rmse_percent",
    "crps_percent",
    "coverage90",
    "coverage90_std",
    "spread_skill",
    "draw_gap_db",
    "seconds",
    "seconds_per_draw",
)
"""The scores of a row, in the order of the tables."""

GAUSSIAN_90 = 1.6448536269514722  # half width of a normal's central 90 %, in standard deviations


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """The scores of the voxels that lie equally far from acquired slices.

    Attributes:
        kind: "distance" to the nearest acquired slice, or "offset" from the one before it.
        steps: That many voxels.
        mm: That far.
        voxels: How many there are.
        psnr_db: Of these voxels.
        mae_percent: Of these voxels.
        coverage90: Of these voxels.
    """

    kind: str
    steps: int
    mm: float
    voxels: int
    psnr_db: float
    mae_percent: float
    coverage90: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The scores of one method on one scan; `definitions` in the summary says what each is."""

    subject: str
    scan: str
    method: str
    psnr_db: float
    ssim: float
    mae_percent: float
    rmse_percent: float
    crps_percent: float
    coverage90: float
    coverage90_std: float
    spread_skill: float
    draw_gap_db: float
    seconds: float
    seconds_per_draw: float
    draws: int
    voxels: int
    data_range: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Sampled:
    draws: Float32[np.ndarray, "s n"]
    low: Float32[np.ndarray, " n"] | None
    high: Float32[np.ndarray, " n"] | None
    seconds: float


def examine(
    imputer: Imputer, exam: Exam, *, method: str, samples: int, seed: int
) -> tuple[Row, Imputation]:
    """Returns the scores of an imputer on one exam, and what it answered.

    Args:
        imputer: It sees the sparse volume only.
        exam: Question and answer.
        method: The name in the tables.
        samples: Draws to score, at least two. One is held as a volume at a time.
        seed: Of the run.

    Raises:
        VolumeError: If the imputer returns a value that is not finite.
    """
    begun = time.perf_counter()
    imputation = imputer.impute(exam.volume, seed=seed, case=exam.checksum, tile=TILE)
    seconds = time.perf_counter() - begun
    truth, mean = exam.truth[exam.region], imputation.mean[exam.region]
    _require_finite(mean, method, exam)
    sampled = _sample(imputation, exam, method, samples)

    percent = 100 / exam.data_range
    mae = metrics.mae(truth, mean)
    row = Row(
        subject=exam.case.subject,
        scan=exam.case.name,
        method=method,
        psnr_db=metrics.psnr(truth, mean, data_range=exam.data_range),
        ssim=metrics.ssim(
            exam.truth, imputation.mean, region=exam.region, data_range=exam.data_range
        ),
        mae_percent=percent * mae,
        rmse_percent=percent * metrics.rmse(truth, mean),
        # A method without draws states a point mass, whose CRPS is the absolute error.
        crps_percent=percent * (metrics.crps(truth, sampled.draws) if sampled else mae),
        coverage90=_coverage(truth, sampled),
        coverage90_std=_gaussian_coverage(truth, mean, imputation.std, exam.region),
        spread_skill=metrics.spread_skill(truth, mean, sampled.draws) if sampled else math.nan,
        draw_gap_db=metrics.draw_gap_db(truth, mean, sampled.draws) if sampled else math.nan,
        seconds=seconds,
        seconds_per_draw=sampled.seconds / samples if sampled else math.nan,
        draws=samples if sampled else 0,
        voxels=len(truth),
        data_range=exam.data_range,
        bins=tuple(_bins(exam, truth, mean, sampled)),
    )
    return row, imputation


def _sample(imputation: Imputation, exam: Exam, method: str, samples: int) -> _Sampled | None:
    if imputation.draw is None:
        return None

    begun = time.perf_counter()
    draws = np.empty((samples, int(exam.region.sum())), np.float32)
    for index in range(samples):
        draws[index] = imputation.draw(index + 1)[exam.region]
    seconds = time.perf_counter() - begun
    _require_finite(draws, method, exam)

    if samples < metrics.COVERAGE_DRAWS:
        return _Sampled(draws, None, None, seconds)
    low, high = metrics.interval(draws, share=0.9)
    return _Sampled(draws, low.astype(np.float32), high.astype(np.float32), seconds)


def _coverage(
    truth: Float32[np.ndarray, " n"],
    sampled: _Sampled | None,
    chosen: Bool[np.ndarray, " n"] | None = None,
) -> float:
    if sampled is None or sampled.low is None or sampled.high is None:
        return math.nan
    here = np.ones(len(truth), bool) if chosen is None else chosen
    return metrics.coverage(truth[here], sampled.low[here], sampled.high[here])


def _gaussian_coverage(
    truth: Float32[np.ndarray, " n"],
    mean: Float32[np.ndarray, " n"],
    std: Float32[np.ndarray, "i j k"] | None,
    region: Bool[np.ndarray, "i j k"],
) -> float:
    if std is None:
        return math.nan
    half = GAUSSIAN_90 * std[region]
    return metrics.coverage(truth, mean - half, mean + half)


def _bins(
    exam: Exam,
    truth: Float32[np.ndarray, " n"],
    mean: Float32[np.ndarray, " n"],
    sampled: _Sampled | None,
) -> list[Bin]:
    offsets = exam.offsets()
    kinds = {"distance": exam.distances()} | ({} if offsets is None else {"offset": offsets})
    step_mm = exam.volume.spacing_mm[0 if exam.stack is None else exam.stack.axis]
    bins = []
    for kind, steps in kinds.items():
        for step in np.unique(steps).tolist():
            here = steps == step
            bins.append(
                Bin(
                    kind=kind,
                    steps=step,
                    mm=step * step_mm,
                    voxels=int(here.sum()),
                    psnr_db=metrics.psnr(truth[here], mean[here], data_range=exam.data_range),
                    mae_percent=100 * metrics.mae(truth[here], mean[here]) / exam.data_range,
                    coverage90=_coverage(truth, sampled, here),
                )
            )
    return bins


def _require_finite(values: Float32[np.ndarray, "*n"], method: str, exam: Exam) -> None:
    if not np.isfinite(values).all():
        raise VolumeError(
            f"{method} gives values that are not finite for {exam.case.scan}",
            hint="this is a fault of the method: leave it out with --methods, and report it",
        )
