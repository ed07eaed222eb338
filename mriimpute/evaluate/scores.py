"""One method on one scan: it is asked once, and its answer is scored in every way.

Draws are held together only while they are looked at: what is kept of them are a few numbers per
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
from mriimpute.evaluate.bins import EDGE_STEPS, Bin, bins_of
from mriimpute.evaluate.curves import Curves
from mriimpute.evaluate.prediction import SHARES, Answer
from mriimpute.evaluate.reference import Key, key_of, stripes_of
from mriimpute.evaluate.regions import KINDS, Region, finite_mean, regional_means, score_regions
from mriimpute.evaluate.result import Result
from mriimpute.evaluate.structures import found
from mriimpute.evaluate.test_case import TestCase
from mriimpute.methods.base import Imputation, Imputer

__all__ = ["examine"]

Draws = Float32[np.ndarray, "s n"]


def examine(
    imputer: Imputer, case: TestCase, *, method: str, samples: int, seed: int
) -> tuple[Result, Imputation]:
    """Returns the scores of an imputer on one case, and what it answered.

    Args:
        imputer: It sees the sparse volume only.
        case: Question and answer.
        method: The name in the tables.
        samples: Draws to score, at least two. One is held as a volume at a time.
        seed: Of the run.

    Raises:
        VolumeError: If the imputer returns a value that is not finite.
    """
    begun = time.perf_counter()
    imputation = imputer.impute(case.volume, seed=seed, case=case.checksum)
    seconds = time.perf_counter() - begun

    key = key_of(case)
    draws, of_draws = _drawn(imputation, case, key, method, samples)
    answer = _answer(imputation, case, method, draws)
    regions = _regions(case, key, answer, draws)
    bins = bins_of(case, answer, key.edges)
    curves = _curves(answer)

    result = Result(
        subject=case.source.subject,
        scan=case.source.name,
        method=method,
        seconds=seconds,
        draws=0 if draws is None else samples,
        voxels=len(answer.truth),
        data_range=case.data_range,
        bins=bins,
        regions=regions,
        curves=curves if curves.ranks or curves.removed else None,
        trace=imputation.trace,
        **of_draws._asdict(),
        **_of_mean(answer, imputation, case, key),
        **_of_edges(bins),
        **_of_uncertainty(answer, curves),
        energy_percent=answer.percent(_energy(answer, case, draws)),
        elbo=_elbo(imputation, case),
        **_of_regions(regions, case.data_range),
    )
    return result, imputation


class _OfDraws(NamedTuple):
    """What is known of draws only while they are volumes; NaN without draws."""

    stripes_draw: float
    seconds_per_draw: float


def _drawn(
    imputation: Imputation, case: TestCase, key: Key, method: str, samples: int
) -> tuple[Draws | None, _OfDraws]:
    """Returns the draws in the region."""
    if imputation.draw is None:
        return None, _OfDraws(math.nan, math.nan)

    draws = np.empty((samples, int(case.region.sum())), np.float32)
    stripes, seconds = math.nan, 0.0
    for index in range(samples):
        begun = time.perf_counter()
        draw = imputation.draw(index + 1)
        seconds += time.perf_counter() - begun
        draws[index] = draw[case.region]
        _require_finite(draws[index], method, case)
        if index == 0:
            stripes = _alike(stripes_of(draw, case), key.stripes)
    return draws, _OfDraws(stripes, seconds / samples)


def _answer(imputation: Imputation, case: TestCase, method: str, draws: Draws | None) -> Answer:
    truth, mean = case.truth[case.region], imputation.mean[case.region]
    std = None if imputation.std is None else imputation.std[case.region]
    _require_finite(mean, method, case)
    if std is not None:
        _require_finite(std, method, case)
    ensemble = None if draws is None else metrics.ensemble_of(truth, draws, shares=SHARES)
    return Answer(truth, mean, std, ensemble, case.data_range)


def _of_mean(answer: Answer, imputation: Imputation, case: TestCase, key: Key) -> dict[str, float]:
    truth, mean = answer.truth, answer.mean
    tissues = metrics.score_tissues(truth, mean, key.thresholds)
    rmse = answer.percent(metrics.rmse(truth, mean))
    return {
        "psnr_db": answer.psnr(),
        "ssim": metrics.ssim(
            case.truth, imputation.mean, region=case.region, data_range=case.data_range
        ),
        "mse": (rmse / 100) ** 2,
        "nrmse": metrics.nrmse(truth, mean),
        "mae_percent": answer.mae_percent(),
        "rmse_percent": rmse,
        "hfen": metrics.hfen(case.truth, imputation.mean, region=case.region),
        "gradient_psnr_db": metrics.gradient_psnr(
            case.truth, imputation.mean, region=case.region, data_range=case.data_range
        ),
        "stripes": _alike(stripes_of(imputation.mean, case), key.stripes),
        "tissue_dice": tissues.dice,
        "tissue_volume_error_percent": tissues.volume_error_percent,
    }


def _of_edges(bins: Sequence[Bin]) -> dict[str, float]:
    found = {b.steps: b.psnr_db for b in bins if b.kind == "edge"}
    return {f"psnr_{name}_db": found.get(steps, math.nan) for name, steps in EDGE_STEPS.items()}


def _of_uncertainty(answer: Answer, curves: Curves) -> dict[str, float]:
    scores: dict[str, Callable[[], float]] = {
        "crps_percent": answer.crps_percent,
        "nll_std": answer.nll_std,
        "nll_draws": answer.nll_draws,
        "spread_skill": answer.spread_skill,
        "draw_gap_db": answer.draw_gap_db,
    }
    levels = {round(100 * share): share for share in SHARES}
    return (
        {name: score() for name, score in scores.items()}
        | {f"coverage{level}": answer.coverage(share) for level, share in levels.items()}
        | {f"coverage{level}_std": answer.coverage_std(share) for level, share in levels.items()}
        | {"rank_distance": curves.rank_distance(), "ause": curves.ause()}
    )


def _energy(answer: Answer, case: TestCase, draws: Draws | None) -> float:
    """Returns the energy score of the draws, or of the mean as the only one without draws."""
    said = answer.mean[None] if draws is None else draws
    return metrics.energy_score(answer.truth, said, region=case.region)


def _elbo(imputation: Imputation, case: TestCase) -> float:
    """Returns the bound, in nats per voxel and per percent of the data range."""
    if imputation.log_density is None:
        return math.nan
    return imputation.log_density(case.truth, case.region) + math.log(case.data_range / 100)


def _curves(answer: Answer) -> Curves:
    sorted_out = answer.sparsification()
    ensemble = answer.ensemble
    return Curves(
        ranks=() if ensemble is None else tuple(metrics.rank_shares(ensemble).tolist()),
        **{}
        if sorted_out is None
        else {name: tuple(curve.tolist()) for name, curve in sorted_out._asdict().items()},
    )


def _regions(case: TestCase, key: Key, answer: Answer, draws: Draws | None) -> tuple[Region, ...]:
    carried = case.carried_labels()
    if case.labels is None or carried is None or key.structures is None:
        return ()
    labels = {"region": case.labels[case.region], "carried": carried}
    regions = [
        region
        for kind in KINDS
        for region in regional_means(kind, labels[kind], answer.truth, answer.mean, draws)
    ]
    return found(key.structures, answer.mean, regions)


def _of_regions(regions: Sequence[Region], data_range: float) -> dict[str, float]:
    kinds = {kind: [region for region in regions if region.kind == kind] for kind in KINDS}
    own = kinds["region"]
    return {
        f"{kind}_{name}": value
        for kind in KINDS
        for name, value in dataclasses.asdict(score_regions(kinds[kind], data_range)).items()
    } | {
        "structure_dice": finite_mean([region.dice for region in own]),
        "structure_volume_error_percent": finite_mean([abs(r.volume_error_percent) for r in own]),
    }


def _alike(detail: float, of_truth: float) -> float:
    """Returns a ratio of details over that of the truth: 1 for the truth itself."""
    return detail / of_truth if of_truth else math.nan


def _require_finite(values: Float32[np.ndarray, "*n"], method: str, case: TestCase) -> None:
    if not np.isfinite(values).all():
        raise VolumeError(
            f"{method} gives values that are not finite for {case.source.path}",
            hint="this is a fault of the method: leave it out with --methods, and report it",
        )
