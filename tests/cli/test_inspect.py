"""Tests for `mriimpute inspect`."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel import cifti2
from typer.testing import CliRunner, Result

from mriimpute.cli import app
from mriimpute.io import read_scan


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["inspect", *map(str, words)])


def seen(*words: str | Path) -> dict[str, object]:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_broken_scan_is_two_lines_in_a_real_process(tmp_path: Path) -> None:
    # nibabel prints to the stderr it found when it was imported, which CliRunner cannot see.
    (tmp_path / "x.nii").write_bytes(b"\x5c\x01\x00\x00" + b"\x07" * 700)
    command = [sys.executable, "-m", "mriimpute", "inspect", str(tmp_path / "x.nii")]

    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603

    assert done.returncode == 1
    assert done.stdout == ""
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]


def test_geometry_of_a_thick_scan(thick: Path) -> None:
    found = seen(thick)

    assert found["shape"] == [6, 5, 4]
    assert found["spacing_mm"] == [1, 1, 6]
    assert found["orientation"] == "RAS"
    assert found["obliquity_deg"] == 0
    assert (found["slice_axis"], found["slice_direction"]) == ("k", "inferior-superior")
    assert found["slice_spacing_mm"] == 6
    assert (found["factor"], found["imputed_shape"]) == (6, [6, 5, 19])
    assert found["missing_share"] == pytest.approx(15 / 19, abs=1e-6)
    assert (found["qform_code"], found["sform_code"]) == (1, 1)
    assert found["stored_as"] == "int16"
    assert found["warnings"] == []


def test_axes_are_those_of_the_file(tmp_path: Path) -> None:
    sagittal = np.array([[0, 0, -5.0, 0], [-1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1]])
    nib.Nifti1Image(np.ones((6, 5, 4), np.uint8), sagittal).to_filename(tmp_path / "s.nii")

    found = seen(tmp_path / "s.nii")

    assert found["orientation"] == "PIL"
    assert (found["slice_axis"], found["slice_direction"]) == ("k", "left-right")
    assert found["imputed_shape"] == [6, 5, 16]
    np.testing.assert_allclose(found["affine"], sagittal, atol=1e-12)


@pytest.mark.parametrize(
    ("sidecar", "thickness", "gap"),
    [
        ('{"SliceThickness": 4.5}', 4.5, 1.5),
        ('{"SliceThickness": "thick"}', None, None),
        ('{"SliceThickness": NaN}', None, None),
        ('{"EchoTime": 1}', None, None),
        ("[1, 2]", None, None),
        ("not json", None, None),
    ],
)
def test_thickness_comes_from_the_bids_sidecar_alone(
    sidecar: str, thickness: float | None, gap: float | None, thick: Path
) -> None:
    thick.with_name("thick.json").write_text(sidecar)

    found = seen(thick)

    assert (found["slice_thickness_mm"], found["slice_gap_mm"]) == (thickness, gap)


def test_unknown_thickness_is_said(thick: Path) -> None:
    assert "unknown: the file does not say" in run(thick).stdout


def test_missing_voxels_and_slope_are_counted_in(tmp_path: Path) -> None:
    data = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
    data[:, :, 1] = np.nan
    nib.Nifti1Image(data, np.eye(4)).to_filename(tmp_path / "nan.nii")

    result = run(tmp_path / "nan.nii", "--json")

    found = json.loads(result.stdout)
    assert (found["nan_voxels"], found["missing_share"], found["factor"]) == (16, 0.25, 1)
    assert (found["slice_axis"], found["slice_axis_from"]) == ("k", "missing slices")
    assert (
        result.stderr == "warning: nan.nii: 16 voxels are NaN or infinite and count as missing\n"
    )


def test_the_image_of_what_was_acquired_counts_as_it_does_for_impute(tmp_path: Path) -> None:
    observed = np.zeros((6, 5, 9), np.uint8)
    observed[:, :, ::4] = 1
    nib.Nifti1Image(np.arange(270.0).reshape(6, 5, 9), np.eye(4)).to_filename(tmp_path / "s.nii")
    nib.Nifti1Image(observed, np.eye(4)).to_filename(tmp_path / "s_desc-observed.nii")

    found = seen(tmp_path / "s.nii")

    assert found["missing_share"] == pytest.approx(6 / 9, abs=1e-6)
    assert (found["slice_axis"], found["slice_spacing_mm"]) == ("k", 4)
    assert (found["observed"], found["nan_voxels"]) == ("s_desc-observed.nii", 0)
    assert found["warnings"] == []
    assert "as s_desc-observed.nii says" in run(tmp_path / "s.nii").stdout


def test_complete_isotropic_scan_is_told_to_have_nothing_missing(tmp_path: Path) -> None:
    nib.Nifti1Image(np.eye(27, dtype=np.float32).reshape(9, 9, 9), np.eye(4)).to_filename(
        tmp_path / "full.nii"
    )

    found = seen(tmp_path / "full.nii")

    assert found["missing_share"] == 0
    assert any("nothing is missing" in warning for warning in found["warnings"])


def test_a_folder_is_inspected_to_the_end_despite_a_broken_scan(thick: Path) -> None:
    thick.with_name("a.nii").write_bytes(b"garbage")

    result = run(thick.parent, "--json")

    assert result.exit_code == 1
    assert json.loads(result.stdout)["file"] == "thick.nii.gz"
    assert result.stderr.splitlines()[-1] == "failed: 1 of 2: a.nii"


def test_data_of_surfaces_are_refused_by_name_and_end_no_folder(thick: Path) -> None:
    axis = cifti2.BrainModelAxis.from_mask(np.ones(40, bool), "CIFTI_STRUCTURE_CORTEX_LEFT")
    image = cifti2.Cifti2Image(
        np.ones((1, 40), np.float32), (cifti2.ScalarAxis(["thickness"]), axis)
    )
    for name in ("x.dscalar.nii", "unlike.nii"):
        image.to_filename(thick.with_name(name))
    values = nib.Nifti1Image(np.ones((99, 1, 1), np.float32), np.eye(4))
    values.to_filename(thick.with_name("lh.thickness.nii"))

    alone = run(thick.with_name("x.dscalar.nii"))
    surface = run(thick.with_name("lh.thickness.nii"))
    folder = run(thick.parent, "--json")

    assert alone.exit_code == surface.exit_code == folder.exit_code == 1
    assert "x.dscalar.nii holds no voxels but other data (Cifti2)" in alone.stderr
    assert "99 x 1 x 1 voxels: a line, or values of a surface" in surface.stderr
    assert json.loads(folder.stdout)["file"] == "thick.nii.gz"
    assert "surface (CIFTI or of one hemisphere): 2: " in folder.stderr
    assert folder.stderr.splitlines()[-1] == "failed: 1 of 2: unlike.nii"


def test_a_bug_in_one_scan_does_not_end_a_folder(
    thick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thick.with_name("a.nii").write_bytes(b"garbage")

    def fail(path: Path, **options: object) -> None:
        if path.name == "a.nii":
            raise AttributeError("surprise")
        return read_scan(path, **options)

    monkeypatch.setattr("mriimpute.io.read_scan", fail)
    result = run(thick.parent, "--json")

    assert json.loads(result.stdout)["file"] == "thick.nii.gz"
    assert "unexpected AttributeError: surprise" in result.stderr


def test_labels_and_phase_are_a_warning(tmp_path: Path) -> None:
    labels = np.zeros((20, 20, 5), np.uint8)
    labels[5:12, 5:12, 2:] = 3
    nib.Nifti1Image(labels, np.diag([1, 1, 5, 1.0])).to_filename(tmp_path / "a.nii")

    warnings = seen(tmp_path / "a.nii")["warnings"]

    assert "it holds no intensities but labels or a mask, to judge by its values" in str(warnings)


def test_plain_text_names_every_property(thick: Path) -> None:
    result = run(thick)

    assert result.exit_code == 0
    assert result.stderr == ""
    for word in ("grid", "orientation", "slices", "missing", "intensity", "forms"):
        assert any(line.startswith(word) for line in result.stdout.splitlines())


def test_no_line_is_wider_than_the_terminal(thick: Path, columns: int) -> None:
    long = thick.rename(thick.with_name("sub-0001_ses-baseline_acq-thick_run-01_T1w.nii.gz"))

    shown = run(long).stdout

    assert max(map(len, shown.splitlines())) <= columns
    assert str(long) in "".join(shown.split())
    assert "\u2026" not in shown


def test_inspecting_does_not_load_torch(thick: Path) -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from mriimpute.cli import app\n"
        f"result = CliRunner().invoke(app, ['inspect', {str(thick)!r}])\n"
        "sys.exit(result.exit_code or 'torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603


def test_scans_of_one_exam_are_named_as_such(tmp_path: Path, thick: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("sub-1_ses-1_T1w", "sub-1_ses-1_FLAIR", "sub-1_ses-2_T1w"):
        image = nib.Nifti1Image(np.ones((4, 4, 3), np.float32), np.diag([1, 1, 6, 1]))
        image.to_filename(tmp_path / "in" / f"{name}.nii")

    result = run(tmp_path / "in", "--json")

    found = {one["file"]: one["companions"] for one in map(json.loads, result.stdout.splitlines())}
    assert found["sub-1_ses-1_T1w.nii"] == ["sub-1_ses-1_FLAIR.nii"]
    assert found["sub-1_ses-2_T1w.nii"] == []
    assert "sub-1_ses-1_FLAIR.nii: --together" in run(tmp_path / "in").stdout
    assert seen(thick)["companions"] == []
