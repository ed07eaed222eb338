"""Tests for mriimpute.evaluation.without_truth."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mriimpute.errors import ConfigError, OutputError, VolumeError
from mriimpute.evaluation import methods as method_module
from mriimpute.evaluation import without_truth
from mriimpute.evaluation.simulated import find_simulated_scans

METHODS = ["linear", "pchip"]


@pytest.fixture
def clinical(tmp_path: Path, write: Callable[..., None]) -> Path:
    """A folder with the sparse scans of two subjects, and nothing else."""
    write(tmp_path / "sim", {"sub-1": "test", "sub-2": "test"})
    folder = tmp_path / "clinical"
    folder.mkdir()
    for scan in find_simulated_scans(tmp_path / "sim"):
        shutil.copy(scan.path, folder)
    shutil.rmtree(tmp_path / "sim")
    return folder


def test_each_question_has_a_whole_report_of_its_own(clinical: Path, tmp_path: Path) -> None:
    summaries = without_truth([clinical], tmp_path / "report", methods=METHODS)

    assert list(summaries) == ["slices", "lines"]
    for name, summary in summaries.items():
        assert summary.report == tmp_path / "report" / name
        assert (summary.report / "metrics.csv").is_file()
        stored = json.loads((summary.report / "settings.json").read_text())
        assert stored["protocol"] == summary.protocol.name == name
        assert summary.protocol.bias
        assert summary.subjects == 2
    assert {result.scan for result in summaries["slices"].results} == {"sub-1_T1w", "sub-2_T1w"}
    assert {result.scan for result in summaries["lines"].results} == {
        f"sub-{n}_T1w_{axis}" for n in (1, 2) for axis in "xy"
    }


def test_no_truth_is_opened(
    tmp_path: Path, write: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "sim", {"sub-1": "train", "sub-2": "test"})
    for path in (tmp_path / "sim" / "truth").rglob("*.nii.gz"):
        path.write_bytes(b"opening this is cheating")
    opened: list[Path] = []
    load = nib.load
    monkeypatch.setattr(nib, "load", lambda path: (opened.append(Path(path)), load(path))[1])

    summaries = without_truth([tmp_path / "sim"], tmp_path / "report", methods=["linear"])

    assert {result.subject for result in summaries["slices"].results} == {"sub-2"}
    assert opened
    assert not [path for path in opened if path.is_relative_to(tmp_path / "sim" / "truth")]


def test_no_picture_shows_a_profile(clinical: Path, tmp_path: Path) -> None:
    summaries = without_truth([clinical], tmp_path / "report", methods=["linear"])

    for summary in summaries.values():
        views = [view.name for panel in summary.panels.values() for view in panel.views]
        assert views
        assert "sagittal" not in views


def test_same_command_again_scores_nothing_twice(clinical: Path, tmp_path: Path) -> None:
    without_truth([clinical], tmp_path / "report", methods=METHODS)
    rows = {p: p.stat().st_mtime_ns for p in (tmp_path / "report").glob("*/rows/*.json")}

    without_truth([clinical], tmp_path / "report", methods=METHODS)

    assert len(rows) == 12
    assert all(path.stat().st_mtime_ns == written for path, written in rows.items())


def test_rows_of_other_scans_are_not_mixed_in(clinical: Path, tmp_path: Path) -> None:
    without_truth([clinical], tmp_path / "report", methods=["linear"])
    (clinical / "sub-2_T1w.nii.gz").unlink()

    with pytest.raises(OutputError, match="scans was"):
        without_truth([clinical], tmp_path / "report", methods=["linear"])


def test_method_that_was_fitted_on_the_scans_is_named_so(clinical: Path, tmp_path: Path) -> None:
    summaries = without_truth(
        [clinical],
        tmp_path / "report",
        methods=["linear", "cross-plane-ridge", "cross-plane-ridge@scan"],
    )

    for summary in summaries.values():
        assert [result.method for result in summary.results][:3] == [
            "linear",
            "cross-plane-ridge@seen",
            "cross-plane-ridge@scan",
        ]


def test_model_is_named_so_where_its_cohort_is_these_very_scans(
    clinical: Path, tmp_path: Path
) -> None:
    without_truth([clinical], tmp_path / "first", methods=["cross-plane-ridge"])
    run = tmp_path / "first" / "runs" / "cross-plane-ridge"
    one = clinical / "sub-1_T1w.nii.gz"

    seen = without_truth([clinical], tmp_path / "second", methods=[], models=[run])
    other = without_truth([one], tmp_path / "third", methods=[], models=[run])

    assert {result.method for result in seen["lines"].results} == {"cross-plane-ridge@seen"}
    assert {result.method for result in other["lines"].results} == {"cross-plane-ridge"}


def test_train_split_of_a_table_keeps_fitted_methods_honest(
    tmp_path: Path, write: Callable[..., None]
) -> None:
    write(tmp_path / "sim", {"sub-1": "train", "sub-2": "train", "sub-3": "test"})
    cohort = tmp_path / "sim" / "cohort"

    summaries = without_truth([cohort], tmp_path / "report", methods=["cross-plane-ridge"])

    assert {result.method for result in summaries["slices"].results} == {"cross-plane-ridge"}
    with pytest.raises(ConfigError, match="would be fitted on the train split"):
        without_truth([cohort], tmp_path / "all", methods=["cross-plane-ridge"], split="all")


def test_split_that_no_table_knows_is_refused_and_never_ignored(
    clinical: Path, tmp_path: Path, write: Callable[..., None]
) -> None:
    write(tmp_path / "sim", {"sub-1": "train", "sub-2": "test"})
    one, cohort = clinical / "sub-1_T1w.nii.gz", tmp_path / "sim" / "cohort"

    for sources in ([one], [clinical], [cohort, one]):
        with pytest.raises(ConfigError, match=r"has no participants.tsv that says who is in"):
            without_truth(sources, tmp_path / "report", methods=METHODS, split="test")

    assert not (tmp_path / "report").exists()


def test_everyone_is_scored_and_recorded_so_where_no_table_knows_splits(
    clinical: Path, tmp_path: Path
) -> None:
    asked = [
        without_truth([clinical], tmp_path / f"{split}", methods=["linear"], split=split)
        for split in (None, "all")
    ]

    for summaries in asked:
        assert {summary.split for summary in summaries.values()} == {"all"}
        assert {summary.settings["split"] for summary in summaries.values()} == {"all"}


def test_split_without_a_scan_is_an_error(tmp_path: Path, write: Callable[..., None]) -> None:
    write(tmp_path / "sim", {"sub-1": "train"})

    with pytest.raises(VolumeError, match=r"no scan of .* is in the test split"):
        without_truth([tmp_path / "sim"], tmp_path / "report", methods=METHODS)


def test_method_is_not_fitted_on_one_of_several_sources(clinical: Path, tmp_path: Path) -> None:
    scans = sorted(clinical.iterdir())

    with pytest.raises(ConfigError, match="is fitted on one cohort, not on 2 sources"):
        without_truth(scans, tmp_path / "report", methods=["cross-plane-ridge"])


def test_scan_that_cannot_be_hidden_from_is_named_and_the_others_are_scored(
    clinical: Path, tmp_path: Path
) -> None:
    (clinical / "sub-1_T1w.nii.gz").write_bytes(b"no image")
    told: list[str] = []

    summaries = without_truth(
        [clinical],
        tmp_path / "report",
        methods=["linear"],
        on_failure=lambda name, _: told.append(name),
    )

    assert told == ["sub-1_T1w", "sub-1_T1w_x", "sub-1_T1w_y"]
    assert summaries["slices"].left_out == ("sub-1_T1w",)
    assert summaries["slices"].subjects == summaries["lines"].subjects == 1


def test_scans_of_one_name_are_told_apart_by_their_folders(clinical: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        folder = tmp_path / f"visit{number}"
        folder.mkdir()
        shutil.copy(clinical / f"sub-{number}_T1w.nii.gz", folder / "head.nii.gz")

    summaries = without_truth(
        [tmp_path / "visit1", tmp_path / "visit2"], tmp_path / "report", methods=["linear"]
    )

    assert {result.subject for result in summaries["slices"].results} == {
        "visit1_head",
        "visit2_head",
    }


def test_unknown_method_is_refused_before_anything_is_written(
    clinical: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="no method is called 'sinc'"):
        without_truth([clinical], tmp_path / "report", methods=["sinc"])

    assert not (tmp_path / "report").exists()
    assert method_module.to_fit(METHODS) == []


@pytest.mark.parametrize("value", [0.0, 500.0])
def test_a_blank_scan_is_named_and_spoils_no_comparison(
    value: float, clinical: Path, tmp_path: Path
) -> None:
    image = nib.load(clinical / "sub-1_T1w.nii.gz")
    nib.Nifti1Image(np.full(image.shape, value, np.float32), image.affine).to_filename(
        clinical / "sub-3_T1w.nii.gz"
    )
    failed: dict[str, str] = {}

    summaries = without_truth(
        [clinical],
        tmp_path / "report",
        methods=METHODS,
        on_failure=lambda name, error: failed.update({name: str(error)}),
    )

    assert set(failed) == {"sub-3_T1w", "sub-3_T1w_x", "sub-3_T1w_y"}
    assert all("sub-3_T1w.nii.gz is blank: all that counts" in why for why in failed.values())
    for summary in summaries.values():
        assert summary.subjects == 2
        assert [method.method for method in summary.methods if method.scores] != []
        for method in summary.methods:
            assert np.isfinite(method.scores["psnr_db"].mean)
