"""Tests for `mriimpute evaluate`."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from mriimpute.cli import app
from mriimpute.evaluation import methods
from mriimpute.imputation import companions
from mriimpute.methods.base import Imputation
from mriimpute.methods.interpolation import Interpolation
from mriimpute.registration import NO_MOTION
from mriimpute.volume import Volume

REPORT = {"settings.json", "metrics.csv", "distance.csv", "volumes.tsv", "summary.json"} | {
    "figure.png",
    "index.html",
}


@pytest.fixture
def sim(tmp_path: Path, rng: np.random.Generator) -> Path:
    """One test subject: noise in a ball of brain, every third slice acquired."""
    folder = tmp_path / "sim"
    data = rng.uniform(10, 90, (10, 10, 10)).astype(np.float32)
    ball = sum((np.indices(data.shape)[a] - 4.5) ** 2 for a in range(3)) < 16
    for part, name, image, steps in (
        ("cohort", "T1w", data[:, :, ::3], 3),
        ("truth", "T1w", data, 1),
        ("truth", "desc-brain_mask", ball.astype(np.uint8), 1),
    ):
        path = folder / part / "sub-1" / "anat" / f"sub-1_{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.Nifti1Image(image, np.diag([2.0, 2.0, 2.0 * steps, 1.0])).to_filename(path)
    (folder / "participants.tsv").write_text("participant_id\tsplit\nsub-1\ttest\n")
    return folder


@pytest.fixture
def pictures() -> None:
    """Asks for the figure and the page, which take most of the time of an evaluation."""


@pytest.fixture(autouse=True)
def without_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves both empty where a test does not ask for them; tests/report looks at them."""
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr("mriimpute.report.write_figure", lambda path, _: path.touch())
        monkeypatch.setattr("mriimpute.report.write_page", lambda path, _: path.touch())


def call(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["evaluate", *map(str, words), "--device", "cpu"])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.usefixtures("pictures")
def test_report_lies_beside_the_simulation(sim: Path) -> None:
    code, stdout, stderr = call(sim, "--methods", "linear, pchip")

    assert code == 0, stderr
    report = sim.with_name("sim_report")
    assert {path.name for path in report.iterdir() if path.is_file()} == REPORT
    assert (report / "figure.png").read_bytes().startswith(b"\x89PNG")
    lines = stdout.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["linear", "pchip"]
    assert "fewer than 5" in stderr


def test_table_shows_what_the_csv_holds(sim: Path) -> None:
    code, stdout, stderr = call(sim, "--methods", "cubic", "-o", sim.parent / "out")

    assert code == 0, stderr
    with (sim.parent / "out" / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert f"{float(row['psnr_db']):.2f}" in stdout.splitlines()[-1].split()


def copied(sim: Path, subject: str) -> None:
    for part in ("cohort", "truth"):
        for path in (sim / part / "sub-1" / "anat").iterdir():
            other = sim / part / subject / "anat" / path.name.replace("sub-1", subject)
            other.parent.mkdir(parents=True, exist_ok=True)
            other.write_bytes(path.read_bytes())
    with (sim / "participants.tsv").open("a") as table:
        table.write(f"{subject}\ttest\n")


def test_the_table_fits_the_terminal(
    sim: Path, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (sim, "--methods", "linear,cross-plane-ridge")
    _, narrow, _ = call(*words)
    monkeypatch.delenv("COLUMNS")

    _, whole, _ = call(*words)

    assert max(map(len, narrow.splitlines())) <= columns
    assert set(whole.split()) <= set(narrow.split())


def test_subjects_that_cannot_be_scored_are_named_and_the_others_are_scored(sim: Path) -> None:
    for subject in ("sub-0", "sub-2", "sub-3"):
        copied(sim, subject)
    (sim / "truth/sub-0/anat/sub-0_T1w.nii.gz").write_bytes(b"no image")
    (sim / "truth/sub-2/anat/sub-2_T1w.nii.gz").unlink()
    (sim / "cohort/sub-3/anat/sub-3_T1w.nii.gz").write_bytes(b"no image")

    code, stdout, stderr = call(sim, "--methods", "linear,pchip", "-o", sim.parent / "out")

    assert code == 1
    assert [line.split()[0] for line in stdout.splitlines()[2:]] == ["linear", "pchip"]
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 3
    assert stderr.splitlines()[-1] == "left out: 3: sub-2, sub-0_T1w, sub-3_T1w"
    summary = json.loads((sim.parent / "out" / "summary.json").read_text())
    assert (summary["subjects"], summary["left_out"]) == (1, ["sub-2", "sub-0_T1w", "sub-3_T1w"])


@pytest.fixture
def buggy(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes interpolation of that kind fail on the first scan that it is asked about."""
    real = Interpolation.impute

    def install(kind: str) -> None:
        asked: list[str] = []

        def impute(self: Interpolation, volume: Volume, **rest: Any) -> Imputation:
            asked.append(self.kind)
            if asked.count(kind) == 1 and self.kind == kind:
                raise KeyError("slab")
            return real(self, volume, **rest)

        monkeypatch.setattr(Interpolation, "impute", impute)

    return install


def test_a_bug_in_a_method_loses_one_row_is_named_at_the_end_and_tried_again(
    sim: Path, buggy: Callable[[str], None]
) -> None:
    copied(sim, "sub-2")
    words = (sim, "--methods", "linear,pchip", "-o", sim.parent / "out")
    buggy("pchip")

    code, stdout, stderr = call(*words)
    again = call(*words)

    assert code == 1
    assert "error: pchip on sub-1_T1w: unexpected KeyError: 'slab'" in stderr.splitlines()
    assert "Traceback" not in stderr
    assert stderr.splitlines()[-1] == (
        "failed: 1: pchip on sub-1_T1w; the same command tries only what is missing"
    )
    lines = [line.split() for line in stdout.splitlines()[1:]]
    assert [line[0] for line in lines] == ["method", "linear", "pchip"]
    assert lines[2][-3:] == ["1", "of", "2"]
    assert again[0] == 0, again[2]
    assert "failed on" not in again[1]


def test_debug_shows_where_a_method_failed(sim: Path, buggy: Callable[[str], None]) -> None:
    buggy("pchip")

    code, _, stderr = call(sim, "--methods", "linear,pchip", "--debug")

    assert code == 1
    assert 'raise KeyError("slab")' in stderr


@pytest.mark.parametrize("others", [0, 1])
def test_without_a_readable_subject_there_is_no_table(sim: Path, others: int) -> None:
    (sim / "cohort/sub-1/anat/sub-1_T1w.nii.gz").write_bytes(b"no image")
    for number in range(others):
        copied(sim, f"sub-{2 + number}")

    code, stdout, stderr = call(sim, "--methods", "linear")

    assert (code, stdout) == (1, "")
    assert stderr.count("error: ") == (3 if others else 1)
    assert ("none of the 2 scans can be scored" in stderr) == bool(others)


def test_every_subject_is_scored_when_asked_for(sim: Path) -> None:
    copied(sim, "sub-2")
    table = sim / "participants.tsv"
    table.write_text("participant_id\tsplit\nsub-1\ttest\nsub-2\ttrain\n")
    out = sim.parent / "out"

    code, stdout, stderr = call(sim, "--methods", "linear", "--split", "all", "-o", out)

    assert code == 0, stderr
    assert "2 subjects" in stdout
    assert json.loads((out / "summary.json").read_text())["settings"]["split"] == "all"


def test_unknown_method_is_two_lines_and_status_1(sim: Path) -> None:
    code, stdout, stderr = call(sim, "--methods", "sinc")

    assert (code, stdout) == (1, "")
    error, hint = stderr.splitlines()
    assert error == "error: no method is called 'sinc'"
    assert "pchip" in hint


def test_folder_that_is_no_simulation_is_two_lines_and_status_1(tmp_path: Path) -> None:
    code, _, stderr = call(tmp_path)

    assert code == 1
    assert "is not a simulation" in stderr.splitlines()[0]
    assert stderr.splitlines()[1].startswith("hint: pass the folder that `mriimpute simulate")


def test_one_draw_is_a_usage_error(sim: Path) -> None:
    code, _, _ = call(sim, "--samples", 1)

    assert code == 2


@pytest.fixture
def clinical(tmp_path: Path, rng: np.random.Generator) -> Path:
    """One thick-slice scan, sagittal, and no truth anywhere."""
    data = rng.uniform(200, 900, (7, 12, 11)).astype(np.float32)
    data[:, :2] = 3.0  # air
    (tmp_path / "clinical").mkdir()
    path = tmp_path / "clinical" / "sub-7_T2w.nii.gz"
    nib.Nifti1Image(data, np.diag([-4.0, 1.0, 1.0, 1.0])).to_filename(path)
    return path.parent


def test_without_truth_two_tables_say_each_what_to_know_before_believing_them(
    clinical: Path,
) -> None:
    code, stdout, stderr = call(clinical, "--without-truth", "--methods", "linear,pchip")

    assert code == 0, stderr
    first, second = stdout.split("To know before believing this: ")[1:]
    assert first.startswith("harder than the real task")
    assert second.startswith("easier than the real task")
    for name in ("slices", "lines"):
        report = clinical.with_name("clinical_report") / name
        assert {path.name for path in report.iterdir() if path.is_file()} == REPORT
        assert json.loads((report / "summary.json").read_text())["protocol"]["bias"]


def test_split_that_cannot_be_told_is_refused(clinical: Path, tmp_path: Path) -> None:
    one = clinical / "sub-7_T2w.nii.gz"

    code, stdout, stderr = call(one, "--without-truth", "--split", "val", "-o", tmp_path / "out")

    assert (code, stdout) == (1, "")
    assert "no participants.tsv that says who is in the val split" in stderr.splitlines()[0]
    assert "--split" in stderr.splitlines()[1]


def test_several_scans_may_be_scored_without_truth(clinical: Path, tmp_path: Path) -> None:
    one = clinical / "sub-7_T2w.nii.gz"
    other = tmp_path / "sub-8_T2w.nii.gz"
    other.write_bytes(one.read_bytes())

    code, stdout, stderr = call(
        one, other, "--without-truth", "--methods", "linear", "-o", tmp_path / "out"
    )

    assert code == 0, stderr
    assert "2 subjects" in stdout


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("a", "b"), "--without-truth takes several"),
        (("a", "--without-truth", "--protocol", "paper"), "paper needs truth"),
        (("a", "--jobs", "0"), "--jobs"),
        (("a", "--protocol", "rough"), "--protocol"),
    ],
)
def test_options_that_make_no_sense_are_a_usage_error(
    words: tuple[str, ...], problem: str
) -> None:
    code, _, stderr = call(*words)

    assert code == 2
    assert problem in " ".join(stderr.replace("\u2502", " ").split())


def test_broken_scan_is_told_of_once_for_all_that_is_asked_of_it(clinical: Path) -> None:
    (clinical / "sub-8_T2w.nii.gz").write_bytes(b"no image")

    code, _, stderr = call(clinical, "--without-truth", "--methods", "linear")

    assert code == 1
    assert stderr.count("error: ") == 1
    assert stderr.splitlines()[-1] == "left out: 3: sub-8_T2w, sub-8_T2w_x, sub-8_T2w_y"


def test_protocol_reaches_the_record(sim: Path) -> None:
    code, _, stderr = call(sim, "--methods", "linear", "--protocol", "brats-inpaint")

    assert code == 0, stderr
    report = sim.with_name("sim_report")
    assert json.loads((report / "settings.json").read_text())["protocol"] == "brats-inpaint"


class Asked(Interpolation):
    """Interpolates, and remembers which companions it was given."""

    uses_companions = True

    def __init__(self) -> None:
        super().__init__("linear")
        self.names: list[str] = []

    def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
        self.names += [one.name for one in self.companions]
        return super().impute(volume, seed=seed, case=case)


def test_the_other_scans_of_a_session_help(sim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied(sim, "sub-2")  # a session of one scan
    truth = sim / "truth/sub-1/anat/sub-1_T1w.nii.gz"
    truth.with_name("sub-1_T2w.nii.gz").write_bytes(truth.read_bytes())
    sagittal = nib.Nifti1Image(nib.load(truth).get_fdata()[::3], np.diag([6.0, 2, 2, 1]))
    sagittal.to_filename(sim / "cohort/sub-1/anat/sub-1_T2w.nii.gz")
    imputer = Asked()
    monkeypatch.setattr(methods, "load_imputer", lambda name, device, adapt: imputer)
    monkeypatch.setattr(companions, "motion_between", lambda *_: NO_MOTION)

    code, _, stderr = call(sim, "--methods", "cross-plane@exam", "-o", sim.parent / "out")

    assert code == 1
    assert "sub-2_T1w" in stderr
    assert "has no other scan of its session" in stderr
    assert sorted(imputer.names) == ["sub-1_T1w.nii.gz", "sub-1_T2w.nii.gz"]
    with (sim.parent / "out" / "metrics.csv").open(newline="") as file:
        assert {row["method"] for row in csv.DictReader(file)} == {"cross-plane@exam"}
