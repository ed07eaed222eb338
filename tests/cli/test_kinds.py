"""Tests for what `impute` calls its files, and of which kind they are: `-o FILE`, .nii, .mgz."""

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from typer.testing import CliRunner, Result

from mriimpute.cli import app
from mriimpute.geometry import rotation

OBLIQUE = nib.affines.from_matvec(
    rotation((12.0, -7.0, 5.0)) @ np.diag([-1.0, 1.0, -6.0]), [10.0, -20.0, 30.0]
)


@pytest.fixture
def voxels(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 900, (14, 12, 5)).astype(np.int16)


def saved(path: Path, voxels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save((nib.MGHImage if "mg" in path.suffix else nib.Nifti1Image)(voxels, OBLIQUE), path)
    return path


def call(*words: object) -> Result:
    ridge = ["impute", "--device=cpu", "--model=cross-plane-ridge", *map(str, words)]
    return CliRunner().invoke(app, ridge)


def names(folder: Path, ending: str = "*") -> set[str]:
    return {path.name for path in folder.glob(ending)}


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mgz"])
def test_results_are_of_the_kind_of_the_scan(
    ending: str, tmp_path: Path, voxels: np.ndarray
) -> None:
    scan = saved(tmp_path / f"scan{ending}", voxels)

    result = call(scan, "--samples", 1, "--write-interpolated")

    assert result.exit_code == 0, result.stderr
    labels = ("draw001", "interpolated", "mean", "observed", "std")
    folder = tmp_path / "scan_imputed"
    images = {f"scan_desc-{label}{ending}" for label in labels}
    assert names(folder) == images | {f"scan_desc-{label}.json" for label in labels}
    is_packed = ending in (".nii.gz", ".mgz")
    for image in images:
        after = nib.load(folder / image)
        assert ((folder / image).read_bytes()[:2] == b"\x1f\x8b") is is_packed
        assert_allclose(after.affine @ np.diag([1, 1, 6, 1]), OBLIQUE, atol=1e-4)
        if "observed" in image:
            assert after.get_data_dtype() == np.uint8
        elif "std" not in image:
            assert after.get_data_dtype().newbyteorder("=") == np.float32
            assert_array_equal(np.asarray(after.dataobj)[:, :, ::6], voxels)


@pytest.mark.parametrize("ending", [".mgz", ".nii.gz"])
def test_the_same_scan_gives_the_same_bytes(
    ending: str, tmp_path: Path, voxels: np.ndarray
) -> None:
    scan = saved(tmp_path / f"scan{ending}", voxels)

    for folder in ("a", "b"):
        call(scan, "-o", tmp_path / folder)

    first, second = (tmp_path / f / f"scan_desc-mean{ending}" for f in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_mgz_that_cannot_hold_a_value_says_so_before_any_work(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(2**30, 2**30 + 999, (14, 12, 5)).astype(np.int32)
    scan = saved(tmp_path / "scan.mgz", data)

    result = call(scan)

    problem, hint = result.stderr.splitlines()
    assert result.exit_code == 1
    assert "double precision, which MGZ does not have" in problem
    assert ".nii.gz" in hint
    assert not (tmp_path / "scan_imputed").exists()
    assert call(scan, "-o", tmp_path / "out.nii.gz").exit_code == 0


@pytest.mark.parametrize(
    ("target", "start", "end", "ending"),
    [
        ("out.nii.gz", "out", "", ".nii.gz"),
        ("OUT.NII", "OUT", "", ".nii"),
        ("new/out.mgz", "out", "", ".mgz"),
        ("scan_desc-best.nii.gz", "scan", "", ".nii.gz"),
        ("sub-1_desc-full_T1w.nii.gz", "sub-1", "_T1w", ".nii.gz"),
    ],
)
def test_a_file_name_is_that_of_the_mean_and_the_rest_lies_beside_it(
    target: str, start: str, end: str, ending: str, tmp_path: Path, voxels: np.ndarray
) -> None:
    scan, out = saved(tmp_path / "in" / "scan.nii.gz", voxels), tmp_path / "out" / target

    result = call("-i", scan, "-o", out, "--samples", 1)

    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == str(out)
    observed = "desc-observedT1w_mask" if end else "desc-observed"
    labels = (f"desc-draw001{end}", f"desc-std{end}", observed)
    stem = target.rpartition("/")[2].partition(".")[0]
    images = {out.name, *(f"{start}_{label}{ending}" for label in labels)}
    sidecars = {f"{stem}.json", *(f"{start}_{label}.json" for label in labels)}
    assert names(out.parent) == images | sidecars
    record = json.loads((out.parent / f"{stem}.json").read_text())
    assert record["settings"]["method"] == "cross-plane-ridge"


def test_a_named_file_may_lie_beside_the_scan(tmp_path: Path, voxels: np.ndarray) -> None:
    scan = saved(tmp_path / "scan.nii.gz", voxels)

    assert call(scan, "-o", tmp_path / "full.nii.gz").exit_code == 0
    again = call(scan, "-o", tmp_path / "full.nii.gz")

    assert again.exit_code == 0
    assert "was made before" in again.stderr


def test_a_named_file_that_is_there_stays(tmp_path: Path, voxels: np.ndarray) -> None:
    scan = saved(tmp_path / "scan.nii.gz", voxels)
    other = saved(tmp_path / "out" / "other.nii.gz", voxels)
    before = other.read_bytes()

    result = call(scan, "-o", other)

    assert result.exit_code == 1
    assert f"{other} exists" in result.stderr
    assert "--overwrite" in result.stderr
    assert other.read_bytes() == before
    assert names(other.parent) == {other.name}


@pytest.mark.parametrize("name", ["scan.mgz", "scan_desc-mean.nii.gz", "scan.nii.gz"])
def test_no_file_that_would_be_read_with_the_scan_is_written_beside_it(
    name: str, tmp_path: Path, voxels: np.ndarray
) -> None:
    scan = saved(tmp_path / "scan.nii.gz", voxels)
    before = scan.read_bytes()

    result = call(scan, "-o", tmp_path / name, "--overwrite")

    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 2
    assert (names(tmp_path), scan.read_bytes()) == ({"scan.nii.gz"}, before)


def test_one_file_is_not_enough_for_two_scans(tmp_path: Path, voxels: np.ndarray) -> None:
    scans = [saved(tmp_path / name, voxels) for name in ("a.nii", "b.nii")]

    result = call(*scans, "-o", tmp_path / "out.nii")

    assert result.exit_code == 1
    assert "one file, for 2 scans" in result.stderr


def test_scans_of_two_kinds_and_one_name_do_not_share_sidecars(
    tmp_path: Path, voxels: np.ndarray
) -> None:
    scans = [saved(tmp_path / name, voxels) for name in ("scan.nii", "scan.mgz")]

    result = call(*scans, "-o", tmp_path / "out")

    assert result.exit_code == 1
    assert "would both write" in result.stderr


def test_what_was_interpolated_is_removed_with_the_wish_for_it(
    tmp_path: Path, voxels: np.ndarray
) -> None:
    scan, out = saved(tmp_path / "scan.nii", voxels), tmp_path / "out"
    call(scan, "-o", out, "--write-interpolated")
    plain = np.asarray(nib.load(out / "scan_desc-interpolated.nii").dataobj)

    call(scan, "-o", out, "--overwrite")

    assert not names(out, "*interpolated*")
    pchip = CliRunner().invoke(
        app, ["impute", str(scan), "-o", str(tmp_path / "pchip.nii"), "--model", "pchip"]
    )
    assert pchip.exit_code == 0
    assert_array_equal(plain, np.asarray(nib.load(tmp_path / "pchip.nii").dataobj))


def test_the_page_and_the_report_know_a_named_file(tmp_path: Path, voxels: np.ndarray) -> None:
    scan, report = saved(tmp_path / "scan.nii.gz", voxels), tmp_path / "run.json"

    result = call(scan, "-o", tmp_path / "out" / "a.mgz", "--page", "--report", report)

    assert result.exit_code == 0, result.stderr
    assert "a_desc-report.html" in names(tmp_path / "out")
    (case,) = json.loads(report.read_text())["cases"]
    assert set(case["outputs"]) == {"a.mgz", "a_desc-std.mgz", "a_desc-observed.mgz"}


def test_a_scan_is_refused_where_memory_is_told_to_be_scarce(
    tmp_path: Path, voxels: np.ndarray
) -> None:
    scan = saved(tmp_path / "scan.nii.gz", voxels)

    refused, done = (call(scan, "--mem-mb", mb) for mb in (1, 10**6))

    assert refused.exit_code == 1
    assert "of memory" in refused.stderr
    assert "raise --mem-mb" in refused.stderr
    assert done.exit_code == 0


def test_an_unpacked_file_holds_what_the_packed_one_does(
    tmp_path: Path, voxels: np.ndarray
) -> None:
    for ending in (".nii", ".nii.gz"):
        call(saved(tmp_path / ending / f"scan{ending}", voxels))

    folders = {ending: tmp_path / ending / "scan_imputed" for ending in (".nii", ".nii.gz")}
    plain, packed = (path / f"scan_desc-mean{ending}" for ending, path in folders.items())
    assert plain.read_bytes() == gzip.decompress(packed.read_bytes())
