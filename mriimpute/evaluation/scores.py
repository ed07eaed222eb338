"""One method on one test case: it imputes once, and its prediction is scored in every way.

Draws are held together only while they are scored: what is kept of them are a few numbers per
voxel (`metrics.Ensemble`).

Axes: n = voxels of the region, s = draws.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from mriimpute import metrics
from mriimpute.errors import VolumeError
from mriimpute.evaluation.bins import EDGE_STEPS, Bin, bins_of
from mriimpute.evaluation.case import TestCase
from mriimpute.evaluation.curves import Curves
from mriimpute.evaluation.prediction import COVERAGE_LEVELS, Prediction
from mriimpute.evaluation.reference_features import (
    ReferenceFeatures,
    reference_features,
    stripes_of,
    with_structure_scores,
)
from mriimpute.evaluation.regions import KINDS, Region, finite_mean, regional_means, score_regions
from mriimpute.evaluation.result import Result
from mriimpute.evaluation.volumes import (
    MeasuredVolume,
    measured_structures,
    measured_tissues,
    score_volumes,
)
from mriimpute.methods.base import Imputation, Imputer

__all__ = ["score_method"]

Draws = Float32[np.ndarray, "s n"]


def score_method(
    imputer: Imputer, case: TestCase, *, method: str, samples: int, seed: int
) -> tuple[Result, Imputation]:
    """Returns the scores of an imputer on one test case, and its imputation.

    Args:
        imputer: It sees the sparse volume only.
        case: The volume and its truth.
        method: The name in the tables.
        samples: Draws to score, at least two. One is held as a volume at a time.
        seed: Of the draws.

    Raises:
        VolumeError: If the imputer returns a value that is not finite.
    """
    start = time.perf_counter()
    imputation = imputer.impute(case.volume, seed=seed, case=case.checksum)
    seconds = time.perf_counter() - start

    features = reference_features(case)
    draws, draw_scores = _draws(imputation, case, features, method, samples)
    prediction = _prediction(imputation, case, method, draws)
    regions = _regions(case, features, prediction, draws)
    volumes = _volumes(case, features, prediction, regions, draws)
    bins = bins_of(case, prediction, features.edges)
    curves = _curves(prediction)

    result = Result(
        subject=case.source.subject,
        scan=case.source.name,
        method=method,
        seconds=seconds,
        draws=0 if draws is None else samples,
        voxels=len(prediction.truth),
        data_range=case.data_range,
        bins=bins,
        regions=regions,
        volumes=volumes,
        curves=curves if curves.ranks or curves.removed else None,
        trace=imputation.trace,
        energy_percent=prediction.percent(_energy(prediction, case, draws)),
        elbo=_elbo(imputation, case),
        **draw_scores._asdict(),
        **_mean_scores(prediction, imputation, case, features),
        **_edge_scores(bins),
        **_uncertainty_scores(prediction, curves),
        **_region_scores(regions, case.data_range),
        **_volume_scores(volumes),
    )
    return result, imputation


class _DrawScores(NamedTuple):
    """Scores of draws that take whole volumes; NaN without draws."""

    stripes_draw: float
    seconds_per_draw: float


def _draws(
    imputation: Imputation, case: TestCase, features: ReferenceFeatures, method: str, samples: int
) -> tuple[Draws | None, _DrawScores]:
    """Returns the voxels of the region in each draw, and the scores of whole draws."""
    if imputation.draw is None:
        return None, _DrawScores(math.nan, math.nan)

    draws = np.empty((samples, int(case.region.sum())), np.float32)
    detail = seconds = 0.0
    for index in range(samples):
        start = time.perf_counter()
        draw = imputation.draw(index + 1)
        seconds += time.perf_counter() - start
        draws[index] = draw[case.region]
        _require_finite(draws[index], method, case)
        detail += stripes_of(draw, case)
    stripes = _relative(detail / samples, features.stripes)
    return draws, _DrawScores(stripes, seconds / samples)


def _prediction(
    imputation: Imputation, case: TestCase, method: str, draws: Draws | None
) -> Prediction:
    truth, mean = case.truth[case.region], imputation.mean[case.region]
    std = None if imputation.std is None else imputation.std[case.region]
    _require_finite(mean, method, case)
    if std is not None:
        _require_finite(std, method, case)
    ensemble = None if draws is None else metrics.ensemble_of(truth, draws, levels=COVERAGE_LEVELS)
    return Prediction(truth, mean, std, ensemble, case.data_range)


def _mean_scores(
    prediction: Prediction, imputation: Imputation, case: TestCase, features: ReferenceFeatures
) -> dict[str, float]:
    truth, mean = prediction.truth, prediction.mean
    rmse = prediction.percent(metrics.rmse(truth, mean))
    return {
        "psnr_db": prediction.psnr(),
        "ssim": metrics.ssim(
            case.truth, imputation.mean, region=case.region, data_range=case.data_range
        ),
        "mse": (rmse / 100) ** 2,
        "nrmse": metrics.nrmse(truth, mean),
        "mae_percent": prediction.mae_percent(),
        "rmse_percent": rmse,
        "hfen": metrics.hfen(case.truth, imputation.mean, region=case.region),
        "gradient_psnr_db": metrics.gradient_psnr(
            case.truth, imputation.mean, region=case.region, data_range=case.data_range
        ),
        "stripes": _relative(stripes_of(imputation.mean, case), features.stripes),
        "tissue_dice": _tissue_dice(truth, mean, features),
    }


def _tissue_dice(
    truth: Float32[np.ndarray, " n"], mean: Float32[np.ndarray, " n"], features: ReferenceFeatures
) -> float:
    limits = features.limits
    return math.nan if limits is None else metrics.tissue_dice(truth, mean, limits.truth)


def _edge_scores(bins: Sequence[Bin]) -> dict[str, float]:
    psnr_db = {b.steps: b.psnr_db for b in bins if b.kind == "edge"}
    return {f"psnr_{name}_db": psnr_db.get(steps, math.nan) for name, steps in EDGE_STEPS.items()}


def _uncertainty_scores(prediction: Prediction, curves: Curves) -> dict[str, float]:
    scores: dict[str, Callable[[], float]] = {
        "crps_percent": prediction.crps_percent,
        "nll_std": prediction.nll_std,
        "nll_draws": prediction.nll_draws,
        "spread_skill": prediction.spread_skill,
        "draw_gap_db": prediction.draw_gap_db,
    }
    percents = {round(100 * level): level for level in COVERAGE_LEVELS}
    return (
        {name: score() for name, score in scores.items()}
        | {f"coverage{n}": prediction.coverage(level) for n, level in percents.items()}
        | {f"coverage{n}_std": prediction.coverage_std(level) for n, level in percents.items()}
        | {"rank_distance": curves.rank_distance(), "ause": curves.ause()}
    )


def _energy(prediction: Prediction, case: TestCase, draws: Draws | None) -> float:
    """Returns the energy score of the draws, or of the mean as the only one without draws."""
    images = prediction.mean[None] if draws is None else draws
    return metrics.energy_score(prediction.truth, images, region=case.region)


def _elbo(imputation: Imputation, case: TestCase) -> float:
    """Returns the lower bound of the log density, in nats per voxel, per percent of the range."""
    if imputation.log_density is None:
        return math.nan
    return imputation.log_density(case.truth, case.region) + math.log(case.data_range / 100)


def _curves(prediction: Prediction) -> Curves:
    sparsification = prediction.sparsification()
    ensemble = prediction.ensemble
    return Curves(
        ranks=() if ensemble is None else tuple(metrics.rank_histogram(ensemble).tolist()),
        **{}
        if sparsification is None
        else {name: tuple(curve.tolist()) for name, curve in sparsification._asdict().items()},
    )


def _regions(
    case: TestCase, features: ReferenceFeatures, prediction: Prediction, draws: Draws | None
) -> tuple[Region, ...]:
    carried = case.carried_labels()
    if case.labels is None or carried is None or features.structures is None:
        return ()
    labels = {"region": case.labels[case.region], "carried": carried}
    regions = [
        region
        for kind in KINDS
        for region in regional_means(kind, labels[kind], prediction.truth, prediction.mean, draws)
    ]
    return with_structure_scores(features.structures, prediction.mean, regions)


def _region_scores(regions: Sequence[Region], data_range: float) -> dict[str, float]:
    kinds = {kind: [region for region in regions if region.kind == kind] for kind in KINDS}
    structures = kinds["region"]
    return {
        f"{kind}_{name}": value
        for kind in KINDS
        for name, value in dataclasses.asdict(score_regions(kinds[kind], data_range)).items()
    } | {"structure_dice": finite_mean([region.dice for region in structures])}


def _volumes(
    case: TestCase,
    features: ReferenceFeatures,
    prediction: Prediction,
    regions: Sequence[Region],
    draws: Draws | None,
) -> tuple[MeasuredVolume, ...]:
    labels = [region.label for region in regions if region.kind == "region"]
    mean = prediction.mean
    return (
        *measured_tissues(case, features.limits, mean, draws),
        *measured_structures(case, features.structures, labels, mean, draws),
    )


def _volume_scores(volumes: Sequence[MeasuredVolume]) -> dict[str, float]:
    return {
        f"{kind}_{name}": value
        for kind in ("tissue", "structure")
        for name, value in dataclasses.asdict(
            score_volumes([volume for volume in volumes if volume.kind == kind])
        ).items()
    }


def _relative(stripes: float, stripes_of_truth: float) -> float:
    """Returns the stripes of an image over those of the truth; NaN where that has no detail."""
    return stripes / stripes_of_truth if stripes_of_truth else math.nan


def _require_finite(values: Float32[np.ndarray, "*n"], method: str, case: TestCase) -> None:
    if not np.isfinite(values).all():
        raise VolumeError(
            f"{method} gives values that are not finite for {case.source.path}",
            hint="this is a bug of the method: leave it out of --methods, and report it",
        )
