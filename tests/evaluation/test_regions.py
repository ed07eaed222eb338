"""Tests for mriimpute.evaluation.regions: from voxels to regional means to tables."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mriimpute import metrics
from mriimpute.evaluation import Summary, evaluate
from mriimpute.evaluation.regions import MIN_REGION_VOXELS, regional_means, score_regions
from mriimpute.evaluation.simulated import find_simulated_scans, read_test_case
from mriimpute.seeds import numpy_stream

REGIONS, VOXELS, DRAWS = 400, 100, 20
LABELS = np.repeat(np.arange(1, REGIONS + 1), VOXELS)
ZERO = np.zeros(REGIONS * VOXELS, np.float32)


def errors(shared: float, alone: float, count: int, *purpose: object) -> np.ndarray:
    """Errors of each voxel: one part that its region shares, one of its own."""
    rng = numpy_stream(0, "regions", *map(str, purpose))
    of_regions = np.repeat(rng.normal(0, shared, (count, REGIONS)), VOXELS, axis=1)
    own = rng.normal(0, alone, (count, REGIONS * VOXELS))
    return (of_regions + own).astype(np.float32)


@pytest.mark.parametrize(("shared", "alone"), [(0.0, 1.0), (0.3, 1.0), (1.0, 0.0)])
def test_draws_that_err_as_the_truth_does_cover_regional_means(
    shared: float, alone: float
) -> None:
    truth = errors(shared, alone, 1, "truth")[0]
    draws = errors(shared, alone, DRAWS, "draws")

    scores = score_regions(regional_means("region", LABELS, truth, ZERO, draws), 1.0)

    assert scores.coverage90 == pytest.approx(0.9, abs=0.04)
    assert scores.spread_skill == pytest.approx(1, abs=0.1)
    assert scores.error_stds == pytest.approx(math.sqrt(19 / 17), abs=0.12)


def test_draws_of_independent_voxels_are_caught_where_regions_err_as_one() -> None:
    truth = errors(1.0, 0.0, 1, "truth")[0]
    draws = errors(0.0, 1.0, DRAWS, "draws")

    scores = score_regions(regional_means("region", LABELS, truth, ZERO, draws), 1.0)

    # Voxel by voxel the same draws pass for calibrated.
    assert metrics.coverage(truth, *metrics.interval(draws)) == pytest.approx(0.9, abs=0.04)
    assert metrics.spread_skill(truth, ZERO, draws.var(axis=0, ddof=1)) == pytest.approx(
        1, abs=0.1
    )
    assert scores.coverage90 < 0.25
    assert scores.spread_skill == pytest.approx(0.1, abs=0.02)
    assert scores.error_stds > 5


def test_structures_drawn_on_the_truth_escape_exact_draws_and_carried_ones_do_not() -> None:
    rng = numpy_stream(0, "regions", "chosen")
    slices, *unseen = rng.normal(size=(2 + DRAWS, REGIONS, 4 * VOXELS)).astype(np.float32)
    mean = np.float32(0.8) * slices
    truth, *draws = (mean + np.float32(0.6) * noise for noise in unseen)

    def covered(kind: str, dark: np.ndarray) -> float:
        labels = np.where(dark, 1, 2)
        scores = [
            score_regions(regional_means(kind, labels[n], truth[n], mean[n], own), 1.0).coverage90
            for n, own in enumerate(np.stack(draws, axis=1))
        ]
        return float(np.mean(scores))

    assert covered("region", truth < 0) < 0.1
    assert covered("carried", slices < 0) == pytest.approx(0.9, abs=0.04)


def test_truth_against_itself_has_no_error_and_is_covered() -> None:
    truth = errors(1.0, 1.0, 1, "truth")[0]

    regions = regional_means("region", LABELS, truth, truth, np.stack([truth] * DRAWS))

    assert all(r.truth == r.mean == r.low == r.high and r.std < 1e-12 for r in regions)
    scores = score_regions(regions, 1.0)
    assert (scores.coverage90, scores.error_percent, scores.error_stds) == (1, 0, 0)


def test_background_and_small_regions_are_left_out() -> None:
    sizes = {-1: 200, 0: 300, 7: MIN_REGION_VOXELS, 8: MIN_REGION_VOXELS - 1, 207: 150}
    labels = np.repeat(list(sizes), list(sizes.values()))
    image = labels.astype(np.float32)

    regions = regional_means("region", labels, image, image, None)

    assert [(r.label, r.voxels, r.truth) for r in regions] == [(7, 100, 7.0), (207, 150, 207.0)]


@pytest.mark.parametrize("draws", [0, 2, metrics.COVERAGE_DRAWS - 1])
def test_too_few_draws_give_no_interval(draws: int) -> None:
    sampled = errors(1.0, 1.0, draws, "draws") if draws else None

    (first, *_) = regions = regional_means("region", LABELS, ZERO, ZERO + 1, sampled)

    assert math.isnan(first.low)
    assert math.isnan(first.high)
    assert math.isnan(first.std) == (draws == 0)
    scores = score_regions(regions, 2.0)
    assert math.isnan(scores.coverage90)
    assert math.isnan(scores.spread_skill) == math.isnan(scores.error_stds) == (draws == 0)
    assert scores.error_percent == 50


def test_scores_do_not_depend_on_the_scale_of_intensities() -> None:
    truth = errors(1.0, 1.0, 1, "truth")[0]
    draws = errors(1.0, 1.0, DRAWS, "draws")

    plain = score_regions(regional_means("region", LABELS, truth, ZERO, draws), 3.0)
    scaled = score_regions(regional_means("region", LABELS, 8 * truth, ZERO, 8 * draws), 24.0)

    assert scaled == plain


def label(sim: Path, subject: str) -> np.ndarray:
    """Writes a label map: 47 right of the middle, 51 left of it, 3 in one voxel."""
    brain = nib.load(sim / "truth" / subject / "anat" / f"{subject}_desc-brain_mask.nii.gz")
    labels = np.where(np.indices(brain.shape)[0] < 8, 51, 47) * np.asarray(brain.dataobj)
    labels[8, 7, 6] = 3
    path = sim / "truth" / subject / "anat" / f"{subject}_desc-atlas_dseg.nii.gz"
    nib.Nifti1Image(labels.astype(np.uint8), brain.affine).to_filename(path)
    return labels


def run_of(sim: Path) -> Summary:
    return evaluate(
        sim, sim.parent / "report", methods=["linear", "cross-plane-ridge@scan"], samples=20
    )


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_regions_reach_the_tables(sim: Path) -> None:
    labels = label(sim, "sub-2")[:, :, 1:]  # from the first acquired slice
    case = read_test_case(find_simulated_scans(sim)[0])

    summary = run_of(sim)

    table = rows_of(sim.parent / "report" / "regions.tsv")
    own = [row for row in table if row["kind"] == "region"]
    assert [(row["method"], row["label"]) for row in own] == [
        (method, name) for method in ("linear", "cross-plane-ridge@scan") for name in ("47", "51")
    ]
    assert list(own[0])[:4] == ["subject", "scan", "method", "kind"]
    here = case.region & (labels[:, :, : case.truth.shape[2]] == 47)
    assert int(own[0]["voxels"]) == here.sum()
    assert float(own[0]["truth"]) == pytest.approx(case.truth[here].mean(), rel=1e-5)
    assert own[0]["low"] == own[0]["std"] == ""
    assert float(own[2]["low"]) < float(own[2]["high"])
    assert float(own[2]["std"]) > 0
    assert summary.results[1].region_coverage90 in (0.0, 0.5, 1.0)
    stored = json.loads((sim.parent / "report" / "summary.json").read_text())
    scores = stored["methods"]["cross-plane-ridge@scan"]
    assert set(scores["labels"]["region"]) == set(scores["labels"]["carried"]) == {"47", "51"}
    assert scores["labels"]["region"]["47"]["scans"] == 1
    assert {*summary.methods[0].scores, "carried", "crps_ratio"} >= {
        name for name in stored["definitions"] if name.startswith(("region_", "carried", "crps_r"))
    }


def test_regions_come_back_as_they_were(sim: Path) -> None:
    label(sim, "sub-2")

    before, after = run_of(sim), run_of(sim)

    assert repr(after) == repr(before)  # as text: NaN differs from itself


def test_scan_without_label_map_has_no_regions(sim: Path) -> None:
    summary = run_of(sim)

    assert all(result.regions == () for result in summary.results)
    assert all(math.isnan(result.region_error_percent) for result in summary.results)
    assert not (sim.parent / "report" / "regions.tsv").exists()
    assert math.isnan(summary.methods[0].scores["region_coverage90"].mean)
    assert summary.methods[0].labels == ()


def test_scans_without_label_map_do_not_spoil_the_mean_over_those_with_one(
    tmp_path: Path, write: Callable[..., None]
) -> None:
    write(tmp_path / "sim", {"sub-1": "test", "sub-2": "test"})
    label(tmp_path / "sim", "sub-2")

    summary = evaluate(tmp_path / "sim", tmp_path / "report", methods=["linear"])

    assert summary.methods[0].scores["region_error_percent"].mean == pytest.approx(
        summary.results[1].region_error_percent
    )


def test_crps_ratio_is_one_for_the_best_interpolator(sim: Path) -> None:
    summary = evaluate(sim, sim.parent / "report", methods=["linear", "pchip"])

    ratios = {s.method: s.crps_ratio.mean for s in summary.methods}
    mae = {result.method: result.mae_percent for result in summary.results}
    best = summary.best_interpolator
    assert ratios[best] == 1
    assert ratios == {name: pytest.approx(value / mae[best]) for name, value in mae.items()}


def test_scores_of_bins_are_those_of_their_voxels(sim: Path) -> None:
    result = run_of(sim).results[1]

    (near,) = (b for b in result.bins if b.kind == "distance")  # every third slice: one step
    assert near.voxels == result.voxels
    assert near.crps_percent == pytest.approx(result.crps_percent)
    assert near.spread_skill == pytest.approx(result.spread_skill)
    ends = [b for b in result.bins if b.kind == "offset"]
    pooled = sum(b.voxels * b.crps_percent for b in ends) / result.voxels
    assert pooled == pytest.approx(result.crps_percent)
