"""Tests for mriimpute.evaluate: from a simulation folder to tables."""

import csv
import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mriimpute.errors import ConfigError, OutputError, VolumeError
from mriimpute.evaluation import Summary, evaluate
from mriimpute.evaluation import methods as method_module
from mriimpute.evaluation.methods import Method
from mriimpute.evaluation.panels import cut, read_panel, write_panel
from mriimpute.evaluation.scores import score_method
from mriimpute.evaluation.simulated import ScoredSplit, find_simulated_scans, read_test_case
from mriimpute.evaluation.store import Store
from mriimpute.methods.base import Imputation, Imputer
from mriimpute.seeds import numpy_stream
from mriimpute.volume import Volume

NOISE = 10.0


class Sampler(Imputer):
    """Knows the truth up to noise: mean = truth + noise, draws = mean + as much noise again."""

    name = "sampler"

    def __init__(self, truth: np.ndarray) -> None:
        self.truth = truth
        self.asked: list[str] = []

    def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
        """Returns the truth, noisy."""
        self.asked.append(case)

        def noisy(image: np.ndarray, number: int) -> np.ndarray:
            noise = numpy_stream(seed, "sampler", number).normal(0, NOISE, volume.shape)
            return np.where(volume.observed, volume.data, image + noise).astype(np.float32)

        mean = noisy(self.truth, 0)
        std = np.where(volume.observed, 0, NOISE).astype(np.float32)
        return Imputation(mean=mean, std=std, draw=lambda number: noisy(mean, number))


@pytest.fixture
def sampler(sim: Path, monkeypatch: pytest.MonkeyPatch) -> Sampler:
    """Takes the place of whatever `--model` names."""
    fake = Sampler(read_test_case(find_simulated_scans(sim)[0]).truth)
    real = method_module.load_imputer

    def load(name: str, *, device: str) -> Imputer:
        return fake if name.endswith("run") else real(name, device=device)

    monkeypatch.setattr(method_module, "load_imputer", load)
    run = sim.parent / "run"
    run.mkdir()
    (run / "model.safetensors").write_bytes(b"weights")
    return fake


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run_of(sim: Path, **changes: object) -> Summary:
    arguments = {"methods": ["linear"], "models": [sim.parent / "run"], "samples": 20}
    return evaluate(sim, sim.parent / "report", **(arguments | changes))  # type: ignore[arg-type]


def test_scores_of_an_exact_sampler_are_those_of_its_noise(sim: Path, sampler: Sampler) -> None:
    summary = run_of(sim)

    result = next(result for result in summary.results if result.method == "sampler")
    assert result.rmse_percent == pytest.approx(100 * NOISE / result.data_range, rel=0.1)
    assert result.psnr_db == pytest.approx(20 * math.log10(result.data_range / NOISE), abs=0.8)
    assert result.coverage90 == pytest.approx(0.9, abs=0.04)
    assert result.coverage90_std == pytest.approx(0.9, abs=0.04)
    assert result.spread_skill == pytest.approx(1, abs=0.1)
    assert result.draw_gap_db == pytest.approx(3.01, abs=0.4)
    assert result.draws == 20


def test_truth_outside_of_the_region_changes_no_bit(sim: Path, sampler: Sampler) -> None:
    case = read_test_case(find_simulated_scans(sim)[0])
    hidden = dataclasses.replace(case, truth=np.where(case.region, case.truth, np.float32(np.nan)))

    row, _ = score_method(sampler, case, method="m", samples=20, seed=0)
    other, _ = score_method(sampler, hidden, method="m", samples=20, seed=0)

    # These look at the surroundings of each voxel, and seconds are never the same.
    local = ("ssim", "hfen", "gradient_psnr_db", "psnr_edge_db", "psnr_flat_db")
    names = (*local, "stripes", "stripes_draw", "seconds", "seconds_per_draw")
    excused = dict.fromkeys(names, 0.0)
    bins = [tuple(b for b in r.bins if b.kind != "edge") for r in (row, other)]
    assert dataclasses.replace(other, **excused, bins=bins[1]) == dataclasses.replace(
        row, **excused, bins=bins[0]
    )


def test_template_space_is_scored_without_slices(tmp_path: Path) -> None:
    rng = numpy_stream(0, "template space")
    anat = [tmp_path / part / "sub-1" / "anat" for part in ("cohort", "truth")]
    data = rng.uniform(10, 90, (12, 12, 12)).astype(np.float32)
    observed = np.add.outer(np.add.outer(np.arange(12), np.arange(12)), np.arange(12)) % 4 == 0
    for folder, name, image in (
        (anat[0], "T1w", np.where(observed, data, np.nan).astype(np.float32)),
        (anat[0], "desc-observed_mask", observed.astype(np.uint8)),
        (anat[1], "T1w", data),
        (anat[1], "desc-brain_mask", np.ones(data.shape, np.uint8)),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        nib.Nifti1Image(image, np.diag([2.0, 2.0, 2.0, 1.0])).to_filename(
            folder / f"sub-1_space-template_{name}.nii.gz"
        )
    (tmp_path / "participants.tsv").write_text("participant_id\tsplit\nsub-1\ttest\n")

    (result,) = evaluate(tmp_path, tmp_path / "report", methods=["linear"]).results

    assert result.voxels == (~observed).sum()
    assert {b.kind for b in result.bins} == {"distance", "edge"}


def test_interpolator_states_no_uncertainty(sim: Path) -> None:
    (result,) = evaluate(sim, sim.parent / "report", methods=["linear"]).results

    assert result.crps_percent == result.mae_percent
    assert result.draws == 0
    unstated = (result.coverage90, result.coverage90_std, result.spread_skill, result.draw_gap_db)
    assert all(math.isnan(value) for value in unstated)
    assert rows_of(sim.parent / "report" / "metrics.csv")[0]["coverage90"] == ""


def test_tables_agree_with_the_summary(sim: Path, sampler: Sampler) -> None:
    summary = run_of(sim, methods=["linear", "pchip"])
    report = sim.parent / "report"
    stored = json.loads((report / "summary.json").read_text())

    table = rows_of(report / "metrics.csv")
    bins = rows_of(report / "distance.csv")

    assert [row["method"] for row in table] == ["linear", "pchip", "sampler"]
    assert float(table[0]["psnr_db"]) == pytest.approx(summary.results[0].psnr_db, rel=1e-5)
    assert stored["best_interpolator"] == summary.best_interpolator
    assert stored["methods"]["linear"]["psnr_db"]["low"] is None  # one subject: no interval
    assert not summary.ranked
    counted = [int(b["voxels"]) for b in bins if b["method"] == "linear" and b["kind"] == "offset"]
    assert sum(counted) == summary.results[0].voxels
    assert {(b["kind"], b["steps"], b["mm"]) for b in bins} == {
        ("distance", "1", "2"),
        ("offset", "1", "2"),
        ("offset", "2", "4"),
        ("edge", "0", ""),
        ("edge", "1", ""),
    }


def test_only_truth_of_test_subjects_is_opened(sim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    load = nib.load
    monkeypatch.setattr(nib, "load", lambda path: (opened.append(Path(path)), load(path))[1])

    evaluate(sim, sim.parent / "report", methods=["linear"])

    inside = [path for path in opened if path.is_relative_to(sim / "truth")]
    assert {path.relative_to(sim / "truth").parts[0] for path in inside} == {"sub-2"}


def test_same_command_again_scores_nothing_twice(sim: Path, sampler: Sampler) -> None:
    before = run_of(sim)

    after = run_of(sim)

    assert len(sampler.asked) == 1
    assert repr(after.results) == repr(before.results)  # as text: NaN differs from itself


def test_interrupted_evaluation_goes_on_where_it_stopped(sim: Path, sampler: Sampler) -> None:
    evaluate(sim, sim.parent / "report", methods=["linear"])
    row = next((sim.parent / "report" / "rows").glob("*linear.json"))
    written = row.stat().st_mtime_ns

    summary = run_of(sim)

    assert row.stat().st_mtime_ns == written
    assert [result.method for result in summary.results] == ["linear", "sampler"]


def test_rows_of_other_settings_are_not_mixed_in(sim: Path, sampler: Sampler) -> None:
    run_of(sim, samples=20)

    with pytest.raises(OutputError, match="samples was 20, is 21"):
        run_of(sim, samples=21)
    assert run_of(sim, samples=21, overwrite=True).results[1].draws == 21


def test_row_of_another_version_is_an_error_and_no_bug(sim: Path) -> None:
    evaluate(sim, sim.parent / "report", methods=["linear"])
    path = sim.parent / "report" / "rows" / "sub-2_T1w_linear.json"
    stored = json.loads(path.read_text())
    stored["row"]["sharpness"] = 3.0
    path.write_text(json.dumps(stored))

    with pytest.raises(OutputError, match="is no result of this version"):
        evaluate(sim, sim.parent / "report", methods=["linear"])


def test_rows_of_other_weights_are_not_mixed_in(sim: Path, sampler: Sampler) -> None:
    run_of(sim)
    (sim.parent / "run" / "model.safetensors").write_bytes(b"trained further")

    with pytest.raises(OutputError, match="was made by another sampler"):
        run_of(sim)


def test_folder_with_something_else_is_not_touched(sim: Path) -> None:
    (sim.parent / "report").mkdir()
    (sim.parent / "report" / "thesis.txt").write_text("years of work")

    with pytest.raises(OutputError, match="exists"):
        evaluate(sim, sim.parent / "report", methods=["linear"])


@pytest.mark.parametrize("record", [None, '{"editor.tabSize": 4}'], ids=["none", "foreign"])
def test_overwriting_touches_no_folder_of_something_else(
    tmp_path: Path, record: str | None
) -> None:
    mine = [tmp_path / "panels" / "Fig1.svg", tmp_path / "rows" / "raw.csv"]
    for path in mine:
        path.parent.mkdir()
        path.touch()
    if record:
        (tmp_path / "settings.json").write_text(record)

    with pytest.raises(OutputError, match="exists and is no report") as failure:
        Store(tmp_path, {"definitions_version": 4}, overwrite=True)

    assert "overwrite" not in failure.value.hint
    assert all(path.is_file() for path in mine)


def test_a_damaged_record_of_a_report_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text("{")

    with pytest.raises(OutputError, match="is damaged"):
        Store(tmp_path, {"definitions_version": 4}, overwrite=False)
    Store(tmp_path, {"definitions_version": 4}, overwrite=True)

    assert json.loads((tmp_path / "settings.json").read_text()) == {"definitions_version": 4}


def test_unknown_method_is_answered_with_the_known_ones(sim: Path) -> None:
    with pytest.raises(ConfigError, match="no method is called 'sinc'") as caught:
        evaluate(sim, sim.parent / "report", methods=["linear", "sinc"])

    assert "pchip" in caught.value.hint
    assert not (sim.parent / "report").exists()


def test_values_that_are_not_finite_stop_the_evaluation(sim: Path, sampler: Sampler) -> None:
    sampler.truth = np.full_like(sampler.truth, np.nan)

    with pytest.raises(VolumeError, match="sampler gives values that are not finite"):
        run_of(sim)


def test_scan_that_breaks_after_one_method_was_scored_stops_the_next(sim: Path) -> None:
    evaluate(sim, sim.parent / "report", methods=["linear"], on_failure=lambda *_: None)
    find_simulated_scans(sim)[0].truth.write_bytes(b"no image")

    with pytest.raises(VolumeError, match="cannot be read"):
        evaluate(
            sim, sim.parent / "report", methods=["pchip", "linear"], on_failure=lambda *_: None
        )


def test_scan_that_method_is_to_be_fitted_on_may_be_broken(
    tmp_path: Path, write: Callable[..., None]
) -> None:
    write(tmp_path / "sim", {"sub-1": "train", "sub-2": "train", "sub-3": "test"})
    scan = tmp_path / "sim" / "cohort" / "sub-1" / "anat" / "sub-1_T1w.nii.gz"
    scan.write_bytes(b"no image")
    told: list[str] = []

    summary = evaluate(
        tmp_path / "sim",
        tmp_path / "report",
        methods=["cross-plane-ridge"],
        on_failure=lambda name, _: told.append(name),
    )

    assert told == list(summary.left_out) == ["sub-1_T1w"]
    assert len(summary.results) == 1


def test_two_models_of_one_kind_keep_their_own_names(sim: Path, sampler: Sampler) -> None:
    other = sim.parent / "second" / "run"
    other.mkdir(parents=True)
    (other / "model.safetensors").write_bytes(b"other weights")

    summary = run_of(sim, models=[sim.parent / "run", other])

    assert [result.method for result in summary.results] == [
        "linear",
        "sampler@run",
        "sampler@run#2",
    ]


def test_method_that_needs_fitting_is_fitted_on_the_cohort_without_truth(
    sim: Path, sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Path, Path]] = []

    def fit(name: str, cohort: Path, run: Path, *rest: object) -> Path:
        asked.append((name, cohort, run))
        run.parent.mkdir(parents=True)
        run.write_bytes(b"weights")
        return run

    def loaded(**changes: object) -> list[Method]:
        arguments = {"cohort": sim / "cohort", "runs": sim.parent / "runs", "seed": 0}
        silent = {"device": "cpu", "track": lambda items, **_: items, "overwrite": False}
        return method_module.load_methods(**(arguments | silent | changes))  # type: ignore[arg-type]

    monkeypatch.setattr(method_module, "_fitted", fit)
    monkeypatch.setattr(method_module, "load_imputer", lambda name, device: sampler)
    loaded(methods=["ppca"], models=[])

    assert asked == [("ppca", sim / "cohort", sim.parent / "runs" / "ppca")]


@pytest.mark.parametrize("split", ["train", "all"])
def test_method_is_not_fitted_on_the_scans_that_it_is_scored_on(
    sim: Path, split: ScoredSplit
) -> None:
    report = sim.parent / "report"

    with pytest.raises(ConfigError, match="ppca would be fitted on the train split"):
        evaluate(sim, report, methods=["linear", "ppca"], split=split)

    assert not report.exists()


def test_rows_of_another_split_are_not_mixed_in(sim: Path) -> None:
    report = sim.parent / "report"
    evaluate(sim, report, methods=["linear"])
    (sim / "participants.tsv").write_text("participant_id\tsplit\nsub-2\tval\n")

    with pytest.raises(OutputError, match="split was test, is val"):
        evaluate(sim, report, methods=["linear"], split="val")


def test_method_that_a_model_supplies_is_not_fitted_again(
    sim: Path, sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler.name = "ppca"
    monkeypatch.setattr(method_module, "_fitted", lambda *_: pytest.fail("fitted"))

    summary = run_of(sim, methods=["linear", "ppca"])

    assert [result.method for result in summary.results] == ["linear", "ppca"]


def test_ridge_is_fitted_kept_and_scored(tmp_path: Path, write: Callable[..., None]) -> None:
    split = {"sub-1": "train", "sub-2": "train", "sub-3": "test"}
    write(tmp_path / "sim", split)

    summary = evaluate(
        tmp_path / "sim",
        tmp_path / "report",
        methods=["cross-plane-ridge", "cross-plane-ridge@scan"],
    )

    assert (tmp_path / "report/runs/cross-plane-ridge/model.safetensors").is_file()
    assert [result.method for result in summary.results] == [
        "cross-plane-ridge",
        "cross-plane-ridge@scan",
    ]
    assert summary.results[0].psnr_db != summary.results[1].psnr_db


def test_five_subjects_are_ranked_with_intervals(
    tmp_path: Path, write: Callable[..., None]
) -> None:
    write(tmp_path / "sim", {f"sub-{n}": "test" for n in range(5)})

    summary = evaluate(tmp_path / "sim", tmp_path / "report", methods=["linear", "cubic"])

    assert summary.ranked
    first, second = (method.scores["psnr_db"] for method in summary.methods)
    assert first.mean > second.mean
    assert first.low < first.mean < first.high
    best = next(s for s in summary.methods if s.method == summary.best_interpolator)
    assert best.gain_db.mean == best.gain_db.low == best.gain_db.high == 0


def test_panels_hold_nothing_outside_of_the_brain(sim: Path, sampler: Sampler) -> None:
    case = read_test_case(find_simulated_scans(sim)[0])
    imputation = sampler.impute(case.volume, seed=0, case="c")

    panel = cut(case, imputation)

    bright = 1000  # the face is at 5000, the brain below 700
    assert (case.truth > bright).any()
    for view in panel.views:
        for plane in (view.truth, view.mean, view.std, *view.draws):
            assert np.nanmax(plane) < bright
            assert (np.isfinite(plane) == np.isfinite(view.truth)).all()
        assert np.isnan(view.truth).any()
        acquired = np.isfinite(view.sparse)
        assert acquired.sum() < np.isfinite(view.truth).sum()
        assert (view.sparse[acquired] == view.truth[acquired]).all()


def test_panels_see_slices_from_the_side_and_one_place_between_two(
    sim: Path, sampler: Sampler
) -> None:
    case = read_test_case(find_simulated_scans(sim)[0])

    panel = cut(case, sampler.impute(case.volume, seed=0, case="c"))

    assert [view.name for view in panel.views] == ["coronal", "sagittal", "axial"]
    assert [view.across for view in panel.views] == [1, 1, -1]
    for view in panel.views[:2]:
        lines = np.flatnonzero(np.isfinite(view.sparse).any(axis=0))
        assert 1 < len(lines) < view.truth.shape[1]
        assert set(lines) <= set(view.slices.tolist())
    assert np.isnan(panel.views[2].sparse).all()
    assert [len(view.draws) for view in panel.views] == [2, 2, 2]


def test_profile_of_what_is_too_large_for_a_brain_is_left_out(sim: Path) -> None:
    case = read_test_case(find_simulated_scans(sim)[0])
    affine = case.volume.affine @ np.diag([10.0, 10.0, 10.0, 1.0])  # 20 mm voxels
    head = dataclasses.replace(case, volume=Volume(case.volume.data, case.volume.observed, affine))

    panel = cut(head, Imputation(mean=case.truth))

    assert [view.name for view in panel.views] == ["coronal", "axial"]


@pytest.mark.parametrize("stated", [True, False])
def test_panel_comes_back_as_it_was_written(
    stated: bool, sim: Path, sampler: Sampler, tmp_path: Path
) -> None:
    case = read_test_case(find_simulated_scans(sim)[0])
    answer = sampler.impute(case.volume, seed=0, case="c")
    panel = cut(case, answer if stated else Imputation(mean=answer.mean))

    write_panel(tmp_path / "panel.npz", panel)
    read = read_panel(tmp_path / "panel.npz")

    assert (read.scan, read.data_range) == (panel.scan, panel.data_range)
    grey = panel.data_range / 1000  # images are kept in half precision
    for one, other in zip(read.views, panel.views, strict=True):
        assert (one.name, one.across, one.ends) == (other.name, other.across, other.ends)
        assert one.slices.tolist() == other.slices.tolist()
        for name in ("truth", "sparse", "mean", "std", "draws"):
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=grey)


@pytest.mark.parametrize("content", [None, b"", b"no panel"])
def test_a_lost_panel_is_named_and_not_a_bug(
    sim: Path, tmp_path: Path, content: bytes | None
) -> None:
    evaluate(sim, tmp_path / "report", methods=["linear"], samples=2)
    panel = tmp_path / "report" / "panels" / "sub-2_T1w_linear.npz"
    panel.unlink()
    if content is not None:
        panel.write_bytes(content)

    with pytest.raises(OutputError, match=r"T1w_linear\.npz is missing or damaged"):
        evaluate(sim, tmp_path / "report", methods=["linear"], samples=2)
