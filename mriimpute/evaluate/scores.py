"""The scores of one method on one scan.

Errors are in percent of the data range, so that scans of any intensity scale can be averaged.
A score that a method does not earn is NaN: an interpolator has no interval to be covered.

Axes: n = voxels of the region, s = draws.
"""

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from mriimpute import metrics
from mriimpute.device import TILE
from mriimpute.errors import VolumeError
from mriimpute.evaluate.answer import Answer
from mriimpute.evaluate.bins import Bin, bins_of
from mriimpute.evaluate.cases import Exam
from mriimpute.evaluate.regions import (
    KINDS,
    REGION_METRICS,
    Region,
    regional_means,
    score_regions,
)
from mriimpute.impute import Imputation, Imputer

__all__ = ["METRICS", "Row", "examine"]

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
    *REGION_METRICS,
    "seconds",
    "seconds_per_draw",
)
"""The scores of a row, in the order of the tables."""

GAUSSIAN_90 = 1.6448536269514722  # half width of a normal's central 90 %, in standard deviations


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
    region_coverage90: float
    region_error_percent: float
    region_spread_skill: float
    region_error_stds: float
    carried_coverage90: float
    carried_error_percent: float
    carried_spread_skill: float
    carried_error_stds: float
    seconds: float
    seconds_per_draw: float
    draws: int
    voxels: int
    data_range: float
    bins: tuple[Bin, ...]
    regions: tuple[Region, ...]


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
    answer, seconds_of_draws = _answer(imputation, exam, method, samples)
    truth, mean = answer.truth, answer.mean
    regions = _regions(exam, answer)

    percent = 100 / exam.data_range
    row = Row(
        subject=exam.case.subject,
        scan=exam.case.name,
        method=method,
        psnr_db=metrics.psnr(truth, mean, data_range=exam.data_range),
        ssim=metrics.ssim(
            exam.truth, imputation.mean, region=exam.region, data_range=exam.data_range
        ),
        mae_percent=percent * metrics.mae(truth, mean),
        rmse_percent=percent * metrics.rmse(truth, mean),
        crps_percent=percent * answer.crps(),
        coverage90=answer.coverage90(),
        coverage90_std=_gaussian_coverage(truth, mean, imputation.std, exam.region),
        spread_skill=answer.spread_skill(),
        draw_gap_db=answer.draw_gap_db(),
        seconds=seconds,
        seconds_per_draw=seconds_of_draws / samples,
        draws=0 if answer.draws is None else samples,
        voxels=len(truth),
        data_range=exam.data_range,
        bins=bins_of(exam, answer),
        regions=regions,
        **_region_scores(regions, exam.data_range),
    )
    return row, imputation


def _answer(imputation: Imputation, exam: Exam, method: str, samples: int) -> tuple[Answer, float]:
    """Returns the answer, and the seconds that its draws took: NaN without draws."""
    truth, mean = exam.truth[exam.region], imputation.mean[exam.region]
    _require_finite(mean, method, exam)
    if imputation.draw is None:
        return Answer(truth, mean, None, None), math.nan

    begun = time.perf_counter()
    draws = np.empty((samples, len(truth)), np.float32)
    for index in range(samples):
        draws[index] = imputation.draw(index + 1)[exam.region]
    seconds = time.perf_counter() - begun
    _require_finite(draws, method, exam)

    if samples < metrics.COVERAGE_DRAWS:
        return Answer(truth, mean, draws, None), seconds
    low, high = metrics.interval(draws, share=0.9)
    ends = low.astype(np.float32), high.astype(np.float32)
    return Answer(truth, mean, draws, ends), seconds


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


def _regions(exam: Exam, answer: Answer) -> tuple[Region, ...]:
    carried = exam.carried_labels()
    if exam.labels is None or carried is None:
        return ()
    labels = {"region": exam.labels[exam.region], "carried": carried}
    return tuple(
        region
        for kind in KINDS
        for region in regional_means(kind, labels[kind], answer.truth, answer.mean, answer.draws)
    )


def _region_scores(regions: Sequence[Region], data_range: float) -> dict[str, Any]:
    return {
        f"{kind}_{name}": value
        for kind in KINDS
        for name, value in dataclasses.asdict(
            score_regions([region for region in regions if region.kind == kind], data_range)
        ).items()
    }


def _require_finite(values: Float32[np.ndarray, "*n"], method: str, exam: Exam) -> None:
    if not np.isfinite(values).all():
        raise VolumeError(
            f"{method} gives values that are not finite for {exam.case.scan}",
            hint="this is a fault of the method: leave it out with --methods, and report it",
        )
