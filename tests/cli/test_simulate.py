"""Tests for `mriimpute simulate`."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from mriimpute.cli import app

SMALL = ("--no-register", "--spacing", "8", "--keep-every", "4")


@pytest.fixture
def heads(tmp_path: Path, rng: np.random.Generator) -> Path:
    folder = tmp_path / "heads"
    folder.mkdir()
    for n in (1, 2):
        data = np.zeros((20, 22, 20), np.float32)
        data[4:16, 4:18, 4:16] = rng.uniform(100, 200, (12, 14, 12))
        image = nib.Nifti1Image(data, np.diag([8.0, 8.0, 8.0, 1.0]))
        image.to_filename(folder / f"head{n}.nii.gz")
    return folder


def call(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["simulate", *map(str, words)])
    return result.exit_code, result.stdout, result.stderr


def test_options_reach_the_record(heads: Path, tmp_path: Path) -> None:
    sim = tmp_path / "sim"
    options = ("--plane", "coronal", "--angle", "3", "--thickness", "2", "--space", "template")

    code, stdout, stderr = call(heads, "-o", sim, *SMALL, *options, "--seed", "7")

    assert code == 0, stderr
    assert "2 simulated" in stdout
    record = json.loads((sim / "simulation.json").read_text())
    assert record["seed"] == 7
    assert record["settings"] == {
        "spacing": 8.0,
        "keep_every": 4,
        "plane": "coronal",
        "angle_deg": 3.0,
        "thickness_mm": 2.0,
        "truth": "point samples",
        "register": False,
        "space": "template",
        "box_mm": [192.0, 224.0, 176.0],
        "order": 3,
    }


def test_a_random_plane_is_recorded_as_asked_and_as_drawn(heads: Path, tmp_path: Path) -> None:
    code, _, stderr = call(heads, "-o", tmp_path / "sim", *SMALL, "--plane", "random")

    assert code == 0, stderr
    record = json.loads((tmp_path / "sim" / "simulation.json").read_text())
    assert record["settings"]["plane"] == "random"
    drawn = {scan["plane"] for scan in record["scans"].values()}
    assert drawn <= {"axial", "coronal", "sagittal"}


def test_the_same_command_again_finds_everything_done(heads: Path, tmp_path: Path) -> None:
    call(heads, "-o", tmp_path / "sim", *SMALL)

    code, stdout, _ = call(heads, "-o", tmp_path / "sim", *SMALL)

    assert code == 0
    assert "0 simulated, 2 done before" in stdout


def test_another_simulation_in_the_folder_is_two_lines_and_status_1(
    heads: Path, tmp_path: Path
) -> None:
    call(heads, "-o", tmp_path / "sim", *SMALL)

    code, stdout, stderr = call(heads, "-o", tmp_path / "sim", *SMALL, "--seed", "1")

    assert code == 1
    assert stdout == ""
    error, hint = stderr.splitlines()
    assert error.startswith("error: ")
    assert "exists" in error
    assert "--overwrite" in hint
    assert call(heads, "-o", tmp_path / "sim", *SMALL, "--seed", "1", "--overwrite")[0] == 0


def test_a_bad_scan_is_named_and_the_others_are_done(heads: Path, tmp_path: Path) -> None:
    (heads / "head1.nii.gz").write_bytes(b"not an image")

    code, stdout, stderr = call(heads, "-o", tmp_path / "sim", *SMALL)

    assert code == 1
    assert "1 simulated" in stdout
    assert "head1.nii.gz" in stderr
    assert (tmp_path / "sim" / "cohort" / "sub-head2" / "anat" / "sub-head2_T1w.nii.gz").exists()


@pytest.mark.parametrize(
    "options",
    [
        ("--spacing", "fine"),
        ("--spacing", "0"),
        ("--spacing", "nan"),
        ("--keep-every", "1"),
        ("--plane", "oblique"),
        ("--angle", "nan"),
        ("--thickness", "nan"),
    ],
)
def test_options_that_make_no_sense_are_a_usage_error(
    heads: Path, tmp_path: Path, options: tuple[str, str]
) -> None:
    code, _, stderr = call(heads, "-o", tmp_path / "sim", *options)

    assert code == 2
    assert options[0] in stderr


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--spacing", "1e-9"), "spacing: at least 0.1 mm"),
        (("--spacing", "1000"), "fewer than two"),
        (("--keep-every", "100000"), "fewer than two"),
        (("--thickness", "inf"), "thickness: from 0 to 224 mm"),
        (("--template", "t1.nii.gz"), "of no use with --no-register"),
    ],
)
def test_settings_that_no_simulation_can_have_are_a_usage_error(
    heads: Path, tmp_path: Path, options: tuple[str, str], problem: str
) -> None:
    code, _, stderr = call(heads, "-o", tmp_path / "sim", "--no-register", *options)

    assert code == 2
    assert problem in " ".join(stderr.replace("\u2502", " ").split())
    assert not (tmp_path / "sim").exists()


def test_a_missing_template_is_an_error(heads: Path, tmp_path: Path) -> None:
    code, _, stderr = call(heads, "-o", tmp_path / "sim", "--template", tmp_path / "no.nii")

    assert code == 1
    assert "no.nii" in stderr
    assert "--template" in stderr
