"""Tests for DICOM series at the command line."""

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its documentation calls it so
from pydicom import dcmread
from pydicom.dataset import Dataset
from typer.testing import CliRunner, Result

from mriimpute.cli import app
from mriimpute.io import read_scan
from mriimpute.io.nifti import write_image

MakeSeries = Callable[..., Path]

SECRETS = ("Quillfeather", "MRN7391846", "19370914", "NHS5550123", "ACC8675309", "STU4711",
           "20190822", "Zzyzx", "Castle")  # fmt: skip


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words), "--device=cpu"])


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    return path


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


@pytest.mark.parametrize("model", ["pchip", "cross-plane-ridge"])
def test_a_series_gives_what_the_nifti_of_the_same_voxels_gives(
    make_series: MakeSeries, tmp_path: Path, model: str
) -> None:
    folder = make_series()
    scan = read_scan(folder)
    write_image(tmp_path / "same.nii.gz", scan.volume.data, like=scan)

    assert call("impute", folder, "-o", tmp_path / "a", "--model", model).exit_code == 0
    assert call("impute", tmp_path / "same.nii.gz", "-o", tmp_path / "b", "--model", model)

    one = nib.load(tmp_path / "a" / "exam_desc-mean.nii.gz")
    other = nib.load(tmp_path / "b" / "same_desc-mean.nii.gz")
    np.testing.assert_array_equal(np.asarray(one.dataobj), np.asarray(other.dataobj))
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-5)


def test_mean_and_std_come_back_as_series_of_the_same_study(
    make_series: MakeSeries, tmp_path: Path
) -> None:
    folder = make_series()

    result = call(
        "impute", folder, "--dicom-out", "--model", "cross-plane-ridge", "-o", tmp_path / "out"
    )

    assert result.exit_code == 0, result.stderr
    study = dcmread(next(folder.iterdir())).StudyInstanceUID
    for content in ("mean", "std"):
        series = tmp_path / "out" / f"exam_desc-{content}_dicom"
        image = voxels(tmp_path / "out" / f"exam_desc-{content}.nii.gz")
        first = dcmread(series / "0001.dcm")
        assert first.StudyInstanceUID == study
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
        seen = sitk.GetArrayFromImage(reader.Execute()).T
        np.testing.assert_allclose(seen, image, rtol=0, atol=float(first.RescaleSlope) * 0.5001)


def test_no_output_holds_what_names_the_patient(make_series: MakeSeries, tmp_path: Path) -> None:
    folder = make_series(leave_out=(2,))

    result = call(
        "impute", folder, "--dicom-out", "--model=cross-plane-ridge", "--samples=1", "--debug",
        "-o", tmp_path / "out", "--report", tmp_path / "out" / "run.json",
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) > 40
    said = [result.stdout.encode(), result.stderr.encode()]
    for content in [*said, *(path.read_bytes() for path in files)]:
        text = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        assert not [word for word in SECRETS if word.encode() in text]


def test_a_second_call_finds_the_first_done_and_other_options_do_not(
    make_series: MakeSeries, tmp_path: Path
) -> None:
    words = ("impute", make_series(), "--model=pchip", "-o", tmp_path / "out")
    assert call(*words, "--dicom-out").exit_code == 0
    mean = tmp_path / "out" / "exam_desc-mean_dicom" / "0001.dcm"
    before = mean.stat().st_mtime_ns

    again = call(*words, "--dicom-out")
    other = call(*words)
    replaced = call(*words, "--overwrite")

    assert again.exit_code == 0, again.stderr
    assert other.exit_code == 1
    assert replaced.exit_code == 0
    assert not mean.exists()
    assert before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dicom-out", "--space", "template"], "lies where its source lies"),
        (["--dicom-identity"], "needs --dicom-out"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    make_series: MakeSeries, words: list[str], message: str
) -> None:
    result = call("impute", make_series(), "--model=pchip", *words)

    assert result.exit_code in (1, 2)
    assert message in result.stderr


def test_dicom_out_of_a_nifti_is_refused(make_series: MakeSeries, tmp_path: Path) -> None:
    scan = read_scan(make_series())
    write_image(tmp_path / "x.nii.gz", scan.volume.data, like=scan)

    result = call("impute", tmp_path / "x.nii.gz", "--dicom-out", "--model=pchip")

    assert result.exit_code == 1
    assert "is no DICOM series" in result.stderr
    assert not list(tmp_path.rglob("*desc-*"))


def test_several_series_are_several_cases_and_a_bad_one_stops_no_other(
    make_series: MakeSeries, tmp_path: Path
) -> None:
    folder = make_series()
    make_series(series="1.2.4", prefix="b", edit=lambda i, n: setattr(i, "SeriesNumber", 4))
    make_series(
        series="1.2.5",
        prefix="c",
        edit=lambda i, n: (
            setattr(i, "SeriesNumber", 5),
            setattr(i, "ImagePositionPatient", [0, 0, n * n]),
        ),
    )

    result = call("impute", folder, "--model=pchip", "-o", tmp_path / "out")

    assert result.exit_code == 1
    assert "series-005" in result.stderr
    assert "unevenly spaced" in result.stderr
    assert sorted(path.name for path in (tmp_path / "out").glob("*mean.nii.gz")) == [
        "exam_series-003_desc-mean.nii.gz",
        "exam_series-004_desc-mean.nii.gz",
    ]


def test_names_and_sidecars_of_echoes_say_which_echo_they_are(
    make_series: MakeSeries, tmp_path: Path
) -> None:
    folder = make_series()
    make_series(
        edit=lambda image, n: image.update(
            {"EchoTime": 12.5, "SOPInstanceUID": f"{image.SOPInstanceUID}.2"}
        ),
        prefix="second",
    )

    result = call("impute", folder, "--model=pchip", "-o", tmp_path / "out")

    assert result.exit_code == 0, result.stderr
    sidecar = tmp_path / "out" / "exam_series-003-echo2_desc-mean.json"
    volume = json.loads(sidecar.read_text())["settings"]["volume"]
    assert volume == {"name": "echo2", "echo_time_ms": 12.5}


def test_one_series_of_several_can_be_named(make_series: MakeSeries, tmp_path: Path) -> None:
    folder = make_series()
    make_series(series="1.2.4", prefix="b", edit=lambda i, n: setattr(i, "SeriesNumber", 4))

    result = call("impute", folder / "series-004", "--model=pchip", "-o", tmp_path / "out")

    assert result.exit_code == 0, result.stderr
    assert len(list((tmp_path / "out").glob("*mean.nii.gz"))) == 1


def test_a_series_is_simulated_from_as_a_folder_and_as_an_archive(
    make_series: MakeSeries, tmp_path: Path
) -> None:
    folder = make_series()
    words = ("--no-register", "--keep-every=2", "--spacing=8", "-o")

    for source in (folder, zipped(folder, tmp_path / "exam.zip")):
        result = call("simulate", source, *words, tmp_path / f"sim-{source.name}")
        assert result.exit_code == 0, result.stderr
        again = call("simulate", source, *words, tmp_path / f"sim-{source.name}")
        assert "0 simulated, 1 done before" in again.stdout


def test_what_is_simulated_is_named_like_what_is_imputed_and_names_no_patient(
    make_series: MakeSeries, tmp_path: Path
) -> None:
    folder = make_series()
    make_series(series="1.2.4", prefix="b", edit=lambda i, n: setattr(i, "SeriesNumber", 4))
    words = ("--no-register", "--keep-every=2", "--spacing=8", "-o", tmp_path / "sim")

    result = call("simulate", folder, *words)

    assert result.exit_code == 0, result.stderr
    assert {path.name for path in (tmp_path / "sim" / "cohort").glob("sub-*")} == {
        "sub-examseries003",
        "sub-examseries004",
    }
    files = [path for path in (tmp_path / "sim").rglob("*") if path.is_file()]
    said = [result.stdout.encode(), result.stderr.encode()]
    for content in [*said, *(path.read_bytes() for path in files)]:
        text = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        assert not [word for word in SECRETS if word.encode() in text]


def test_a_model_is_not_trained_into_the_folder_of_a_series(make_series: MakeSeries) -> None:
    folder = make_series()

    result = call("train", folder, "--model=cross-plane-ridge", "-o", folder / "run")

    assert result.exit_code == 1
    assert "which is input" in result.stderr
    assert not (folder / "run").exists()


def test_inspect_knows_the_thickness(make_series: MakeSeries) -> None:
    result = call("inspect", make_series(), "--json")

    seen = json.loads(result.stdout)
    assert seen["slice_thickness_mm"] == 3.0
    assert seen["slice_gap_mm"] == pytest.approx(3.0)
    assert seen["slice_spacing_mm"] == pytest.approx(6.0)


def test_the_gap_of_a_tilted_stack_is_one_between_planes(
    make_series: MakeSeries, tmp_path: Path
) -> None:
    def tilt(image: Dataset, number: int) -> None:
        across = np.array([float(v) for v in image.ImageOrientationPatient[3:]])
        position = np.array([float(v) for v in image.ImagePositionPatient])
        image.ImagePositionPatient = (position + 2.8 * number * across).round(9).tolist()

    folder = make_series(edit=tilt)
    seen = json.loads(call("inspect", folder, "--json").stdout)
    result = call("impute", folder, "--model=pchip", "--dicom-out", "-o", tmp_path / "out")

    assert result.exit_code == 0, result.stderr
    assert (seen["slice_spacing_mm"], seen["slice_gap_mm"]) == (6.0, 3.0)
    assert max(seen["spacing_mm"]) == pytest.approx(np.hypot(6, 2.8), abs=1e-3)
    assert sum("perpendicular" in warning for warning in seen["warnings"]) == 1
    image = dcmread(tmp_path / "out" / "exam_desc-mean_dicom" / "0001.dcm")
    assert float(image.SpacingBetweenSlices) == pytest.approx(6 / 7)
    assert "ITK" in result.stderr


@pytest.mark.parametrize("thin", [False, True])
def test_slices_that_are_not_there_are_not_counted_as_acquired(
    make_series: MakeSeries, tmp_path: Path, thin: bool
) -> None:
    def closer(image: Dataset, number: int) -> None:
        image.PixelSpacing = [6, 6]

    folder = make_series(leave_out=(2,), **({"edit": closer} if thin else {}))

    result = call("impute", folder, "--model=pchip", "-o", tmp_path / "out")

    assert result.exit_code == 0, result.stderr
    assert f"5 of {6 if thin else 31} slices acquired" in result.stderr


def test_thickness_is_what_the_header_says_if_asked(
    make_series: MakeSeries, tmp_path: Path
) -> None:
    words = ("impute", make_series(), "--model=cross-plane-ridge", "-o")

    results = [
        call(*words, tmp_path / "auto", "--thickness=auto"),
        call(*words, tmp_path / "3", "--thickness=3"),
        call(*words, tmp_path / "point"),
    ]
    wrong = call(*words, tmp_path / "wrong", "--thickness=thick")

    names = ("auto", "3", "point")
    means = [voxels(tmp_path / name / "exam_desc-mean.nii.gz") for name in names]
    records = [tmp_path / name / "exam_desc-mean.json" for name in names]
    facts = [json.loads(path.read_text())["settings"] for path in records]
    assert [fact["assumed_thickness_mm"] for fact in facts] == [3, 3, 0]
    assert [fact["stated_thickness_mm"] for fact in facts] == [3, 3, 3]
    assert [result.exit_code for result in results] == [0, 0, 0]
    np.testing.assert_array_equal(means[0], means[1])
    assert wrong.exit_code == 2
    assert "--thickness" in wrong.stderr
