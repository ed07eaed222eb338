"""The judge on whole scans: truth is perfect, an exact sampler calibrated, a row complete."""

import csv
import dataclasses
import json
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mriimpute.evaluation import Result, Summary
from mriimpute.evaluation import methods as method_module
from mriimpute.evaluation.bins import BIN_METRICS, Bin
from mriimpute.evaluation.case import TestCase
from mriimpute.evaluation.columns import (
    ACCURACY,
    FILES,
    KEYS,
    METRICS,
    PRINTED,
    STRUCTURES,
    UNCERTAINTY,
    VOLUMES,
)
from mriimpute.evaluation.curves import Curves, mean_of
from mriimpute.evaluation.definitions import DEFINITIONS, definitions_text, meanings
from mriimpute.evaluation.protocol import INPAINT, PAPER, PROTOCOLS, SLICES
from mriimpute.evaluation.regions import REGION_METRICS, Region
from mriimpute.evaluation.result import result_from_json
from mriimpute.evaluation.scores import score_method
from mriimpute.evaluation.simulated import find_simulated_scans, read_test_case
from mriimpute.evaluation.summary import summarise
from mriimpute.evaluation.tables import write_tables
from mriimpute.evaluation.volumes import MeasuredVolume
from mriimpute.methods.base import Imputation, Imputer, Trace
from mriimpute.seeds import numpy_stream
from mriimpute.volume import Volume

NOISE = 10.0


class Oracle(Imputer):
    """Knows the truth: mean = truth + error, draws = mean + as much noise times a spread."""

    name = "oracle"

    def __init__(self, case: TestCase, *, error: float, spread: float = 1.0) -> None:
        self.truth = case.truth
        self.error = error
        self.spread = spread

    def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
        """Returns the truth, noisy."""

        def noisy(image: np.ndarray, number: int, scale: float) -> np.ndarray:
            noise = numpy_stream(seed, "oracle", number).normal(0, 1, volume.shape)
            return np.where(volume.observed, volume.data, image + scale * noise).astype(np.float32)

        mean, spread = noisy(self.truth, 0, self.error), self.spread * self.error
        return Imputation(
            mean=mean,
            std=np.where(volume.observed, 0, spread).astype(np.float32),
            draw=lambda number: noisy(mean, number, spread),
            trace=Trace(fitted=(2.0, 1.0), held_out=(3.0, 4.0), every=5, stopped_at=5),
            log_density=lambda truth, region: -math.log(float(truth[region].max())),
        )


@pytest.fixture
def case(sim: Path) -> TestCase:
    """One with a label map: two halves of the brain, one of them darker."""
    scan = find_simulated_scans(sim)[0]
    image = nib.load(scan.truth)
    brain = np.asarray(nib.load(scan.brain).dataobj) > 0
    right = np.indices(brain.shape)[0] >= 8
    truth = np.asarray(image.dataobj) - np.where(brain & ~right, 300, 0)
    sparse = nib.Nifti1Image(truth[:, :, 1::3].astype(np.float32), nib.load(scan.path).affine)
    sparse.to_filename(scan.path)
    labels = np.where(right, 47, 51) * brain
    nib.Nifti1Image(truth.astype(np.float32), image.affine).to_filename(scan.truth)
    path = scan.truth.with_name("sub-2_desc-atlas_dseg.nii.gz")
    nib.Nifti1Image(labels.astype(np.uint8), image.affine).to_filename(path)
    (scan,) = find_simulated_scans(sim)
    return read_test_case(scan)


def scored(case: TestCase, *, samples: int = 40, **oracle: float) -> Result:
    row, _ = score_method(Oracle(case, **oracle), case, method="m", samples=samples, seed=0)
    return row


def test_truth_against_itself_is_perfect(case: TestCase) -> None:
    row = scored(case, error=0.0)

    assert row.psnr_db == row.gradient_psnr_db == row.psnr_edge_db == row.psnr_flat_db == math.inf
    assert row.ssim == pytest.approx(1)
    assert row.mse == row.nrmse == row.mae_percent == row.rmse_percent == row.hfen == 0
    assert row.tissue_dice == row.structure_dice == 1
    assert row.stripes_draw == pytest.approx(1)
    assert row.structure_volume_error_percent == row.structure_volume_draws_percent == 0
    assert row.structure_volume_coverage90 == 1
    # Of tissues it is what limits err that are fitted to the slices.
    assert row.tissue_volume_error_percent == row.tissue_volume_draws_percent
    assert row.crps_percent == row.energy_percent == row.ause == 0
    assert row.coverage50 == row.coverage95_std == 1


@pytest.mark.parametrize(("spread", "sign"), [(0.5, -1), (1.0, 0), (2.0, 1)])
def test_dispersion_of_draws_is_seen_in_a_row(case: TestCase, spread: float, sign: int) -> None:
    row = scored(case, error=NOISE, spread=spread)

    signed = {
        "coverage50": (row.coverage50 - 0.5, 0.05),
        "coverage90": (row.coverage90 - 0.9, 0.035),
        "coverage95": (row.coverage95 - 0.95, 0.03),
        "coverage80_std": (row.coverage80_std - 0.8, 0.05),
        "spread_skill": (math.log(row.spread_skill), 0.1),
        "draw_gap_db": (row.draw_gap_db - 3.01, 0.4),
    }
    for name, (excess, tolerance) in signed.items():
        assert (abs(excess) > tolerance) == (sign != 0), name
        assert sign * excess >= 0, name
    assert (row.rank_distance > 0.06) == (sign != 0)
    percent = 100 / row.data_range
    ideal = 0.5 * math.log(2 * math.pi * math.e * (percent * NOISE) ** 2)
    assert (row.nll_std > ideal + 0.1) == (row.nll_draws > ideal + 0.1) == (sign != 0)


def test_scores_of_a_row_are_those_of_its_noise(case: TestCase) -> None:
    row = scored(case, error=NOISE)

    percent = 100 * NOISE / row.data_range
    assert row.rmse_percent == pytest.approx(percent, rel=0.1)
    assert row.mse == pytest.approx((row.rmse_percent / 100) ** 2)
    assert row.crps_percent == pytest.approx(percent / math.sqrt(math.pi), rel=0.1)
    assert row.energy_percent == pytest.approx(percent / math.sqrt(2), rel=0.1)
    assert row.ause == pytest.approx(0.544, abs=0.05)
    assert row.stripes > 1.05  # noise on smooth heads
    assert row.stripes_draw > row.stripes


def test_fine_detail_of_draws_is_that_of_all_of_them(case: TestCase) -> None:
    class Fickle(Oracle):
        """Only every second draw is noisy, from the first or from the second on."""

        def __init__(self, case: TestCase, first: int) -> None:
            super().__init__(case, error=NOISE, spread=3.0)
            self.first = first

        def impute(self, *words: object, **settings: object) -> Imputation:
            known = super().impute(*words, **settings)  # type: ignore[arg-type]
            assert known.draw is not None
            spread = known.draw(7)
            return dataclasses.replace(
                known, draw=lambda number: spread if (number - self.first) % 2 == 0 else known.mean
            )

    rows = [
        score_method(Fickle(case, first), case, method="m", samples=2, seed=0)[0]
        for first in (1, 2)
    ]

    assert rows[0].stripes_draw == pytest.approx(rows[1].stripes_draw)
    assert rows[0].stripes_draw > 1.05 * rows[0].stripes


def test_method_that_states_no_uncertainty_has_no_curves_and_is_scored_as_certain(
    case: TestCase,
) -> None:
    class Mute(Oracle):
        def impute(self, *words: object, **settings: object) -> Imputation:
            return Imputation(mean=super().impute(*words, **settings).mean)  # type: ignore[arg-type]

    row, _ = score_method(Mute(case, error=NOISE), case, method="m", samples=20, seed=0)

    assert row.curves is row.trace is None
    assert row.crps_percent == row.mae_percent
    assert row.energy_percent == pytest.approx(row.rmse_percent, rel=0.05)
    stated = (row.nll_std, row.nll_draws, row.coverage50, row.coverage50_std, row.ause)
    assert all(math.isnan(value) for value in (*stated, row.rank_distance, row.stripes_draw))


@pytest.mark.parametrize(
    ("samples", "known"), [(2, ()), (20, (50, 80, 90)), (39, (50, 80, 90, 95))]
)
def test_coverage_is_stated_only_if_so_many_draws_can_tell(
    case: TestCase, samples: int, known: tuple[int, ...]
) -> None:
    row = scored(case, error=NOISE, samples=samples)

    told = [level for level in (50, 80, 90, 95) if math.isfinite(getattr(row, f"coverage{level}"))]
    assert tuple(told) == known
    assert math.isfinite(row.coverage95_std)
    assert math.isnan(row.nll_draws) == (samples < 4)


def test_density_is_per_percent_of_the_data_range(case: TestCase) -> None:
    row = scored(case, error=NOISE)

    brightest = float(case.truth[case.region].max())
    assert row.elbo == pytest.approx(-math.log(100 * brightest / case.data_range))


def test_scores_do_not_depend_on_the_scale_of_intensities(case: TestCase) -> None:
    scaled = dataclasses.replace(
        case,
        truth=8 * case.truth,
        data_range=8 * case.data_range,
        volume=dataclasses.replace(case.volume, data=8 * case.volume.data),
    )

    one, other = scored(case, error=NOISE), scored(scaled, error=8 * NOISE)

    for metric in METRICS:
        if not metric.startswith("seconds"):
            expected = pytest.approx(getattr(one, metric), rel=0.01, abs=1e-4, nan_ok=True)
            assert getattr(other, metric) == expected, metric


def test_row_comes_back_from_json_as_it_was(case: TestCase) -> None:
    row = scored(case, error=NOISE)

    back = result_from_json(json.loads(json.dumps(dataclasses.asdict(row))))

    assert repr(back) == repr(row)  # as text: NaN differs from itself
    assert back.trace == row.trace
    assert back.curves == row.curves


def test_structures_that_an_image_confuses_lose_dice_and_volume(case: TestCase) -> None:
    known = scored(case, error=NOISE)
    dark = dataclasses.replace(case, truth=case.truth - 150)  # what is imputed: half way

    row, _ = score_method(Oracle(dark, error=NOISE), case, method="m", samples=2, seed=0)

    assert known.structure_dice > 0.98
    assert row.structure_dice < known.structure_dice - 0.02
    assert row.structure_volume_error_percent > known.structure_volume_error_percent
    by_label = {r.label: r for r in row.regions if r.kind == "region"}
    assert by_label[47].volume_error_percent < 0 < by_label[51].volume_error_percent
    assert all(math.isnan(r.dice) for r in row.regions if r.kind == "carried")


def test_numbers_of_labels_change_no_score(case: TestCase) -> None:
    assert case.labels is not None
    renamed = np.where(case.labels > 0, case.labels + 2_000_000_000, 0)

    one = scored(case, error=NOISE)
    other = scored(dataclasses.replace(case, labels=renamed), error=NOISE)

    back = [dataclasses.replace(r, label=r.label - 2_000_000_000) for r in other.regions]
    assert repr(back) == repr(list(one.regions))
    assert other.structure_dice == one.structure_dice < 1


def rows_of(case: TestCase, subjects: int) -> list[Result]:
    """Three methods on many subjects: ours is better than linear, cubic is worse."""
    plain = scored(case, error=NOISE)
    rng = numpy_stream(0, "judge rows")
    return [
        dataclasses.replace(
            plain,
            subject=f"sub-{number}",
            scan=f"sub-{number}_T1w",
            method=method,
            psnr_db=20 + number + gain + rng.normal(0, 0.1),
        )
        for number in range(subjects)
        for method, gain in (("linear", 0.0), ("cubic", -1.0), ("ours", 2.0))
    ]


def summary_of(case: TestCase, subjects: int, report: Path) -> Summary:
    return summarise(rows_of(case, subjects), report=report, panels={}, seed=0)


def test_methods_are_compared_with_the_best_and_the_best_interpolator(
    case: TestCase, tmp_path: Path
) -> None:
    summary = summary_of(case, 6, tmp_path)

    assert summary.references == {"best": "ours", "interpolator": "linear"}
    against = {m.method: m.comparisons for m in summary.methods}
    assert {m: sorted(roles) for m, roles in against.items()} == {
        "ours": ["interpolator"],
        "linear": ["best"],
        "cubic": ["best", "interpolator"],
    }
    found = against["ours"]["interpolator"]
    assert (found.wins, found.subjects) == (6, 6)
    assert found.mean.low < 2 < found.mean.high + 0.1
    assert found.p == pytest.approx(2 * 2 / 2**6)  # of two methods


def test_default_model_is_a_reference(case: TestCase, tmp_path: Path) -> None:
    rows = [
        dataclasses.replace(row, method=method_module.PACKAGE) if row.method == "ours" else row
        for row in rows_of(case, 5)
    ]

    summary = summarise(rows, report=tmp_path, panels={}, seed=0)

    assert summary.references["default"] == method_module.PACKAGE
    assert {s.method for s in summary.methods if "default" in s.comparisons} == {"linear", "cubic"}


def test_four_subjects_are_neither_ranked_nor_compared(case: TestCase, tmp_path: Path) -> None:
    summary = summary_of(case, 4, tmp_path)

    assert not summary.ranked
    assert summary.references == {"interpolator": "linear"}
    assert [m.method for m in summary.methods] == [
        "linear",
        "cubic",
        "ours",
    ]
    assert not any(method.comparisons for method in summary.methods)
    assert math.isnan(summary.methods[0].scores["psnr_db"].low)


def test_summaries_hold_edges_and_mean_curves(case: TestCase, tmp_path: Path) -> None:
    summary = summary_of(case, 5, tmp_path)

    (method, *_) = summary.methods
    assert set(method.edges) == {"edge", "flat"}
    assert set(method.edges["edge"]) == set(BIN_METRICS)
    assert method.curves is not None
    assert method.curves.ranks == pytest.approx(summary.results[0].curves.ranks)  # type: ignore[union-attr]
    assert {label.label for label in method.labels} == {47, 51}
    assert all(label.dice > 0.9 for label in method.labels if label.kind == "region")


def test_curves_that_not_all_have_have_no_mean() -> None:
    mean = mean_of([Curves(ranks=(0.5, 0.5)), Curves(ranks=(1.0, 0.0), removed=(0.0,))])

    assert (mean.ranks, mean.removed) == ((0.75, 0.25), ())


def test_tables_hold_curves_traces_and_comparisons(case: TestCase, tmp_path: Path) -> None:
    summary = summary_of(case, 5, tmp_path)

    write_tables(
        dataclasses.replace(summary, fingerprints=dict.fromkeys(("linear", "cubic", "ours"), "v"))
    )

    def table(name: str) -> list[dict[str, str]]:
        with (tmp_path / name).open(newline="") as file:
            return list(csv.DictReader(file, delimiter="\t" if name.endswith("tsv") else ","))

    ranks = [float(r["y"]) for r in table("curves.tsv") if r["curve"] == "ranks"]
    assert len(ranks) == 15 * 41
    assert sum(ranks) == pytest.approx(15, rel=1e-4)
    (first, second, *_) = table("traces.tsv")
    assert (second["step"], second["fitted"], second["stopped_at"]) == ("10", "1", "5")
    assert first["held_out"] == "3"
    assert {r["role"] for r in table("comparisons.tsv")} == {"best", "interpolator"}
    assert "curves" not in table("metrics.csv")[0]
    stored = json.loads((tmp_path / "summary.json").read_text())
    assert stored["methods"]["ours"]["against"]["interpolator"]["wins"] == 5
    assert stored["references"]["best"] == "ours"


@pytest.mark.parametrize("metric", METRICS)
def test_every_score_is_a_field_with_a_definition(metric: str) -> None:
    definition = DEFINITIONS[metric]

    assert metric in {field.name for field in dataclasses.fields(Result)}
    assert (definition.alike or metric) in meanings()
    assert bool(definition.alike) == (metric in REGION_METRICS and metric.startswith("carried_"))


def test_every_column_is_a_field_and_every_field_a_column() -> None:
    def fields(of: type, *nested: str) -> set[str]:
        return {field.name for field in dataclasses.fields(of)} - set(nested)

    row = fields(Result, "bins", "regions", "volumes", "curves", "trace")
    columns = {name: set(of) for name, of in FILES.items()}

    assert columns["metrics.csv"] == row
    assert columns["distance.csv"] == {*KEYS} | fields(Bin)
    assert columns["regions.tsv"] == {*KEYS} | fields(Region)
    assert columns["volumes.tsv"] == {*KEYS} | fields(MeasuredVolume)
    assert columns["metrics.csv"] >= {*METRICS}
    assert all(len(of) == len(columns[name]) for name, of in FILES.items())


@pytest.mark.parametrize("table", [PRINTED, ACCURACY, UNCERTAINTY, STRUCTURES, VOLUMES])
def test_columns_of_a_table_have_a_head_of_their_own_and_digits(table: tuple[str, ...]) -> None:
    definitions = [DEFINITIONS[metric] for metric in table]

    assert len({definition.column for definition in definitions}) == len(table)
    assert all(definition.digits is not None for definition in definitions)


def test_definitions_fit_a_terminal_and_name_the_region_of_the_protocol() -> None:
    text = definitions_text()

    assert max(map(len, text.splitlines())) <= 99
    assert text.isascii()
    plain = " ".join(text.split())
    for protocol in PROTOCOLS:
        for said in (protocol.title, protocol.region, protocol.data_range, protocol.bias):
            assert said in plain
    assert f"region (slices): {SLICES.region}" in plain
    assert f"region (paper, thick, brats-inpaint): {PAPER.region}" in plain
    assert "BraTS" not in meanings()["region"]
    assert meanings(INPAINT)["data_range"] == INPAINT.data_range
    assert "ideally 0.95" in meanings()["coverage95"]
    assert "lower is better" in meanings()["hfen"]
