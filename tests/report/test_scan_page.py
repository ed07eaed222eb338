"""Tests for mriimpute.report.scan_page, by way of `mriimpute impute --page`."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from typer import testing
from typer.testing import CliRunner

from mriimpute.cli import app
from mriimpute.imputation.coding import PLAIN
from mriimpute.imputation.jobs import plan_jobs
from mriimpute.imputation.request import Request
from mriimpute.report import scan_page, write_scan_page
from mriimpute.report._pictures import Album
from mriimpute.report._scan_pictures import Pictures, Result
from mriimpute.volume import Volume

ReadPage = Callable[[Path], Any]

AFFINE = np.diag([-1.0, 1.0, 3.0, 1.0])  # stored from right to left: not the order inside


def save_scan(path: Path) -> Path:
    data = np.random.default_rng(0).normal(500, 100, (12, 11, 5)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, AFFINE), path)
    return path


def impute(*words: object) -> testing.Result:
    result = CliRunner().invoke(app, ["impute", "--device=cpu", *map(str, words)])
    assert result.exit_code == 0, result.stderr
    return result


def test_the_page_of_a_scan_lies_beside_its_results_and_is_one_file(
    tmp_path: Path, read_page: ReadPage
) -> None:
    scan = save_scan(tmp_path / "sub-01_T1w.nii.gz")

    impute(scan, "--model", "cross-plane-ridge", "--samples", 1, "--page", "-o", tmp_path / "out")

    read = read_page(tmp_path / "out" / "sub-01_desc-report_T1w.html")
    assert read.open == []
    assert all(reference.startswith(("#", "data:image/png")) for reference in read.references())
    assert "sagittal plane i = " in str(read.named("svg"))
    for phrase in (
        "61.54 %",
        "3 mm apart, along S",
        "Largest difference on acquired voxels, measured in the files: 0.",
        "image data of the person scanned",
        "not a medical device",
        "standard deviation, units of the scan",
        "linear interpolation",
        "one sample of what the anatomy may be",
    ):
        assert phrase in read.text, phrase


@pytest.mark.parametrize("scale", [1e12, 2e-12])
def test_numbers_are_those_of_the_file_whatever_its_units(
    tmp_path: Path, read_page: ReadPage, scale: float
) -> None:
    """Intensities of 1e15 are coded for the method, those of diffusion in m2/s are tiny."""
    data = scale * np.random.default_rng(0).normal(500, 100, (12, 11, 5))
    nib.save(nib.Nifti1Image(data, AFFINE), tmp_path / "scan.nii")

    impute(tmp_path / "scan.nii", "--model", "cross-plane-ridge", "--page")

    out = tmp_path / "scan_imputed"
    page = read_page(out / "scan_desc-report.html")
    mean, std = (nib.load(out / f"scan_desc-{label}.nii").get_fdata() for label in ("mean", "std"))
    top = np.percentile(std, 99)
    facts = json.loads(next(d["data-facts"] for d in page.named("div") if "data-facts" in d))
    viewer, grey, colours = (
        [float(end) for end in image["alt"].split()[3:6:2]] for image in page.named("img")
    )
    assert grey == pytest.approx(np.percentile(mean, [0.5, 99.5]), rel=0.1)
    assert colours == viewer == pytest.approx([0, top], rel=0.3)
    assert facts["std"] == pytest.approx(top, rel=0.3)
    assert (facts["low"], facts["high"]) == pytest.approx(
        (grey[0], grey[0] + 1.5 * (grey[1] - grey[0])), rel=0.02
    )


def test_a_page_in_template_space_speaks_of_each_grid_and_of_no_slices() -> None:
    mean = np.random.default_rng(0).random((8, 9, 10)).astype(np.float32)
    settings = {"imputed_spacing_mm": [4.0, 4.0, 3.6], "slice_spacing_mm": 18.0, "slice_axis": "S",
                "slice_axis_from": "voxel size", "missing_share": 0.8, "method": "linear",
                "request": {"samples": 0}}  # fmt: skip
    result = Result(
        volume=Volume(mean, np.ones(mean.shape, bool), np.eye(4)),
        axis=-1,
        images={"mean": mean},
        coding=PLAIN,
        difference=math.nan,
        record={"settings": settings, "seed": 0, "device": "cpu", "seconds": 1.0},
    )

    facts, mosaics = scan_page._facts("s", result), Pictures(Album(), result).mosaics()

    assert '<th scope="row">imputed voxels</th><td>4 x 4 x 3.6 mm</td>' in facts
    assert "<td>1 x 1 x 1 mm, 8 x 9 x 10</td>" in facts
    assert "Red lines" not in mosaics


def test_scattered_voxels_are_no_slices(tmp_path: Path, read_page: ReadPage) -> None:
    data = np.random.default_rng(0).normal(500, 100, (12, 11, 10))
    data[np.random.default_rng(1).random(data.shape) < 0.5] = np.nan
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "scan.nii")

    impute(tmp_path / "scan.nii", "--model", "linear", "--page")

    page = read_page(tmp_path / "scan_imputed" / "scan_desc-report.html")
    facts = json.loads(next(d["data-facts"] for d in page.named("div") if "data-facts" in d))
    assert "none: voxels are missing here and there" in page.text
    assert "Red lines" not in page.text
    assert (facts["axis"], facts["acquired"]) == (-1, [])


def test_no_folder_is_named(tmp_path: Path, read_page: ReadPage) -> None:
    scan = save_scan(tmp_path / "Jane Doe" / "scan.nii.gz")

    impute(scan, "--model", "linear", "--page")

    page = tmp_path / "Jane Doe" / "scan_imputed" / "scan_desc-report.html"
    assert "Jane" not in read_page(page).source
    assert "states no uncertainty" in read_page(page).text


def test_a_hostile_file_name_stays_text(tmp_path: Path, read_page: ReadPage) -> None:
    scan = save_scan(tmp_path / "<img src=x onerror=alert(1)>.nii.gz")

    impute(scan, "--model", "linear", "--page", "-o", tmp_path / "out")

    (page,) = (tmp_path / "out").glob("*.html")
    read = read_page(page)
    assert "<img src=x onerror=alert(1)>.nii.gz" in read.text
    assert not any(image["src"] == "x" for image in read.named("img"))


def test_the_difference_is_measured_in_the_files(tmp_path: Path, read_page: ReadPage) -> None:
    scan = save_scan(tmp_path / "scan.nii.gz")
    impute(scan, "--model", "linear", "-o", tmp_path / "out")
    mean = tmp_path / "out" / "scan_desc-mean.nii.gz"
    image = nib.load(mean)
    data = image.get_fdata(dtype=np.float32)
    data[3, 4, 6] += 8.0  # the third acquired slice
    nib.save(nib.Nifti1Image(data, image.affine, image.header), mean)

    (case,) = plan_jobs([scan], tmp_path / "out")
    page = write_scan_page(case, Request(model="linear"))

    assert "measured in the files: 8." in read_page(page).text


@pytest.mark.parametrize("ending", [".nii.gz", ".mgz"])
def test_scan_and_results_are_turned_alike_by_the_form_that_was_asked_for(
    ending: str, tmp_path: Path, read_page: ReadPage
) -> None:
    """The forms disagree on which side is left."""
    scan = save_scan(tmp_path / "scan.nii.gz")
    image = nib.load(scan)
    image.set_sform(AFFINE, code=1)
    image.set_qform(np.diag([1.0, 1.0, 3.0, 1.0]), code=1)
    image.to_filename(scan)
    mean = tmp_path / "out" / f"mean{ending}"
    impute(scan, "--model", "linear", "--xform", "qform", "-o", mean)

    (case,) = plan_jobs([scan], mean)
    page = write_scan_page(case, Request(model="linear", form="qform"))

    assert "measured in the files: 0." in read_page(page).text
    side = nib.load(mean).affine[0, 0]
    assert side == (1 if ending == ".mgz" else -1)  # NIfTI has room for both forms


def test_a_page_is_added_to_what_was_done_before_and_never_outlives_it(tmp_path: Path) -> None:
    scan, out = save_scan(tmp_path / "in" / "scan.nii.gz"), tmp_path / "out"
    page = out / "scan_desc-report.html"
    words = (scan.parent, "--model", "linear", "-o", out)
    impute(*words)
    assert not page.exists()

    impute(*words, "--page")
    added = page.is_file()
    impute(*words, "--overwrite")

    assert added
    assert not page.exists()


def test_same_results_give_the_same_page(tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "scan.nii.gz")
    impute(scan, "--model", "linear", "-o", tmp_path / "out", "--page")
    (case,) = plan_jobs([scan], tmp_path / "out")
    before = case.page.read_bytes()

    write_scan_page(case, Request(model="linear"))

    assert case.page.read_bytes() == before
