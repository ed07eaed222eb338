"""Tests for `mriimpute impute`."""

import gzip
import json
import os
from pathlib import Path

import nibabel as nib
import nibabel.processing
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from typer.testing import CliRunner, Result

from mriimpute.cli import app
from mriimpute.geometry import rotation
from mriimpute.methods.base import Imputation
from mriimpute.methods.interpolation import Interpolation
from mriimpute.methods.ridge.imputer import CrossPlaneRidge
from mriimpute.simulation.template import mni152
from mriimpute.volume import Volume

OBLIQUE = nib.affines.from_matvec(
    rotation((12.0, -7.0, 5.0)) @ np.diag([-1.0, 1.0, -6.0]), [10.0, -20.0, 30.0]
)


def save_scan(path: Path, shape: tuple[int, ...] = (14, 12, 5), seed: int = 0) -> Path:
    """An int16 scan with a slope, 1 mm in plane, 6 mm between slices, oblique and flipped."""
    data = np.random.default_rng(seed).normal(500, 100, shape).astype(np.float32)
    image = nib.Nifti1Image(data, OBLIQUE)
    image.set_data_dtype(np.int16)
    image.header.set_slope_inter(0.25, 100)
    image.set_qform(OBLIQUE, code=1)
    image.set_sform(OBLIQUE, code=4)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def call(*words: object) -> Result:
    """Runs the command. On a named device: it says nothing about one that it chose."""
    return CliRunner().invoke(app, ["impute", "--device=cpu", *map(str, words)])


def assert_two_lines(result: Result, *fragments: str) -> None:
    assert result.exit_code == 1
    assert result.stdout == ""
    problem, hint = result.stderr.strip().splitlines()
    assert problem.startswith("error: ")
    assert hint.startswith("hint: ")
    for fragment in fragments:
        assert fragment in result.stderr


def test_a_scan_becomes_mean_std_draws_and_observed(tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "scan.nii.gz")

    result = call(scan, "--samples", 2)

    assert result.exit_code == 0, result.stderr
    folder = tmp_path / "scan_imputed"
    assert Path(result.stdout.strip()) == folder / "scan_desc-mean.nii.gz"
    labels = ["draw001", "draw002", "mean", "observed", "std"]
    expected = {f"scan_desc-{label}{end}" for label in labels for end in (".json", ".nii.gz")}
    assert {path.name for path in folder.iterdir()} == expected


def test_acquired_voxels_affine_forms_and_codes_come_back(tmp_path: Path) -> None:
    before = nib.load(save_scan(tmp_path / "scan.nii.gz"))

    call(tmp_path / "scan.nii.gz", "--samples", 1, "-o", tmp_path / "out")

    for label in ("mean", "draw001"):
        after = nib.load(tmp_path / "out" / f"scan_desc-{label}.nii.gz")
        assert after.shape == (14, 12, 6 * (5 - 1) + 1)
        assert after.get_data_dtype() == np.float32
        acquired = np.asarray(after.dataobj)[:, :, ::6]
        assert_array_equal(acquired, before.get_fdata().astype(np.float32))
        for form in ("sform", "qform"):
            matrix, code = getattr(after.header, f"get_{form}")(coded=True)
            expected, code_before = getattr(before.header, f"get_{form}")(coded=True)
            assert code == code_before
            assert_allclose(matrix @ np.diag([1, 1, 6, 1]), expected, atol=1e-4)
    observed = np.asarray(nib.load(tmp_path / "out" / "scan_desc-observed.nii.gz").dataobj)
    assert observed.dtype == np.uint8
    assert observed[:, :, ::6].all()
    assert observed.sum() == 14 * 12 * 5


def test_a_dense_scan_with_nan_keeps_its_affine_to_the_bit(tmp_path: Path) -> None:
    data = np.random.default_rng(1).normal(size=(12, 13, 14)).astype(np.float32)
    data[:, 4:6] = np.nan
    image = nib.Nifti1Image(data, OBLIQUE @ np.diag([1, 1, 1 / 6, 1]))
    nib.save(image, tmp_path / "holes.nii.gz")

    result = call(tmp_path / "holes.nii.gz", "-o", tmp_path / "out")

    assert result.exit_code == 0, result.stderr
    before = nib.load(tmp_path / "holes.nii.gz")
    after = nib.load(tmp_path / "out" / "holes_desc-mean.nii.gz")
    assert_array_equal(after.affine, before.affine)
    values = np.asarray(after.dataobj)
    assert np.isfinite(values).all()
    assert_array_equal(values[np.isfinite(data)], data[np.isfinite(data)])


@pytest.mark.parametrize("tile", [16, 64])
def test_draw_seven_is_the_same_whatever_else_is_drawn(tmp_path: Path, tile: int) -> None:
    scan = save_scan(tmp_path / "scan.nii.gz")

    call(scan, "--samples", 7, "-o", tmp_path / "few")
    call(scan, "--samples", 20, "-o", tmp_path / "many", "--tile", tile)

    name = "scan_desc-draw007.nii.gz"
    few, many = (tmp_path / folder / name for folder in ("few", "many"))
    assert few.read_bytes() == many.read_bytes()
    other = tmp_path / "few" / "scan_desc-draw006.nii.gz"
    assert other.read_bytes() != few.read_bytes()


def test_another_seed_draws_otherwise(tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "scan.nii.gz")

    call(scan, "--samples", 1, "-o", tmp_path / "a")
    call(scan, "--samples", 1, "-o", tmp_path / "b", "--seed", 1)

    name = "scan_desc-draw001.nii.gz"
    assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "b" / name).read_bytes()


def test_a_bids_name_keeps_entities_and_suffix(tmp_path: Path) -> None:
    save_scan(tmp_path / "ds" / "sub-01" / "anat" / "sub-01_acq-ax_T1w.nii.gz")

    result = call(tmp_path / "ds", "-o", tmp_path / "out")

    assert result.exit_code == 0, result.stderr
    names = {path.name for path in (tmp_path / "out" / "sub-01" / "anat").glob("*.nii.gz")}
    assert names == {
        "sub-01_acq-ax_desc-mean_T1w.nii.gz",
        "sub-01_acq-ax_desc-std_T1w.nii.gz",
        "sub-01_acq-ax_desc-observedT1w_mask.nii.gz",
    }


def test_the_sidecar_tells_what_was_done(tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "scan.nii.gz")

    call(scan, "-o", tmp_path / "out", "--seed", 3)

    record = json.loads((tmp_path / "out" / "scan_desc-mean.json").read_text())
    assert record["seed"] == 3
    assert record["device"] == "cpu"
    assert record["settings"]["method"] == "cross-plane"
    assert record["settings"]["request"]["model"].startswith("sha256:")
    assert record["settings"]["slice_spacing_mm"] == pytest.approx(6.0, abs=1e-4)
    assert str(tmp_path) not in json.dumps(record)


def test_slices_that_are_nan_are_a_stack_along_their_own_axis(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).uniform(1, 9, (16, 13, 16)).astype(np.float32)
    voxels[:, np.arange(13) % 6 > 0] = np.nan
    path = tmp_path / "scan.nii.gz"
    nib.Nifti1Image(voxels, np.eye(4)).to_filename(path)

    seen = json.loads(CliRunner().invoke(app, ["inspect", str(path), "--json"]).stdout)
    result = call(path, "--model", "linear", "--thickness", 5, "-o", tmp_path / "out")

    assert "3 of 13 slices acquired" in result.stderr
    done = json.loads((tmp_path / "out" / "scan_desc-mean.json").read_text())["settings"]
    assert (done["slice_axis"], seen["slice_axis"]) == ("A", "j")
    for facts in (done, seen):
        assert (facts["slice_spacing_mm"], facts["slice_axis_from"]) == (6, "missing slices")


def test_several_scans_in_one_call_and_one_of_them_bad(tmp_path: Path) -> None:
    good = [save_scan(tmp_path / f"{name}.nii.gz", seed=n) for n, name in enumerate("ab")]
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no image")

    result = call(good[0], bad, good[1], "-o", tmp_path / "out")

    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 2
    assert "failed: 1 of 3: bad.nii.gz" in result.stderr
    assert not list((tmp_path / "out").glob("bad*"))


def test_spacing_chooses_the_output_slices(tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "scan.nii.gz")

    call(scan, "-o", tmp_path / "out", "--spacing", 2)

    after = nib.load(tmp_path / "out" / "scan_desc-mean.nii.gz")
    assert after.shape == (14, 12, 3 * (5 - 1) + 1)


def test_an_observed_image_overrides_the_geometry(tmp_path: Path) -> None:
    data = np.random.default_rng(1).normal(size=(10, 10, 10)).astype(np.float32)
    mask = np.zeros(data.shape, np.uint8)
    mask[::2] = 1
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "scan.nii.gz")
    nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / "seen.nii.gz")

    scan, seen = tmp_path / "scan.nii.gz", tmp_path / "seen.nii.gz"
    result = call(scan, "--observed", seen, "-o", tmp_path / "out")

    assert result.exit_code == 0, result.stderr
    after = np.asarray(nib.load(tmp_path / "out" / "scan_desc-mean.nii.gz").dataobj)
    assert_array_equal(after[::2], data[::2])
    assert np.abs(after[1:-1:2] - data[1:-1:2]).min() > 0


def test_an_interpolator_writes_a_mean_and_refuses_draws(tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "scan.nii.gz")

    plain = call(scan, "--model", "pchip", "-o", tmp_path / "out", "-q")
    drawn = call(scan, "--model", "pchip", "-o", tmp_path / "out2", "--samples", 2, "-q")

    assert plain.exit_code == 0, plain.stderr
    assert not list((tmp_path / "out").glob("*std*"))
    assert_two_lines(drawn, "pchip gives no draws", "--model cross-plane")


def test_draws_of_a_method_without_any_are_refused_before_work_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = [save_scan(tmp_path / f"{name}.nii.gz") for name in "ab"]
    monkeypatch.setattr(Interpolation, "impute", lambda *_, **__: pytest.fail("imputed"))

    result = call(*scans, "--model", "linear", "--samples", 1, "-o", tmp_path / "out", "-q")

    assert_two_lines(result, "linear gives no draws")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("broken", ["mean", "std", "draw 2"])
def test_values_that_are_not_finite_are_an_error_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def impute(imputer: CrossPlaneRidge, volume: Volume, **_: object) -> Imputation:
        good = np.where(volume.observed, volume.data, 0)
        bad = np.where(volume.observed, volume.data, np.float32(np.inf))
        return Imputation(
            mean=bad if broken == "mean" else good,
            std=bad if broken == "std" else good,
            draw=lambda number: bad if broken == f"draw {number}" else good,
        )

    scan = save_scan(tmp_path / "scan.nii.gz")
    monkeypatch.setattr(CrossPlaneRidge, "impute", impute)

    ridge = ("--model", "cross-plane-ridge")
    result = call(scan, *ridge, "--samples", 3, "-o", tmp_path / "out", "-q")

    assert_two_lines(result, f"the {broken} of cross-plane-ridge is not finite", "scan.nii.gz")
    assert not list((tmp_path / "out").iterdir())


def test_one_observed_voxel_gives_a_mean_but_no_claim_about_its_spread(tmp_path: Path) -> None:
    data = np.full((8, 8, 8), np.nan, np.float32)
    data[3, 4, 5] = 7
    scan = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(data, np.eye(4)), scan)

    linear = call(scan, "--model", "linear", "-o", tmp_path / "linear")
    ridge = call(scan, "-o", tmp_path / "ridge", "-q")

    assert linear.exit_code == 0, linear.stderr
    mean = np.asarray(nib.load(tmp_path / "linear" / "scan_desc-mean.nii.gz").dataobj)
    assert (mean == 7).all()
    problem, hint = ridge.stderr.splitlines()[-2:]
    assert ridge.exit_code == 1
    assert problem.startswith(f"error: {scan}: a single voxel is observed")
    assert "--model linear" in hint


@pytest.mark.parametrize("ending", [".NII", ".NII.GZ"])
def test_an_ending_in_capitals_is_an_ending(tmp_path: Path, ending: str) -> None:
    stored = save_scan(tmp_path / "in" / f"scan{ending.lower()}")
    scan = stored.rename(stored.with_name(f"HEAD{ending}"))

    result = call(tmp_path / "in", "--model", "linear", "-o", tmp_path / "out")

    assert result.exit_code == 0, result.stderr
    after = nib.load(tmp_path / "out" / f"HEAD_desc-mean{ending.lower()}")
    before = nib.Nifti1Image.from_bytes(
        gzip.decompress(scan.read_bytes()) if ending.endswith("GZ") else scan.read_bytes()
    )
    expected = before.get_fdata().astype(np.float32)
    assert_array_equal(np.asarray(after.dataobj)[:, :, ::6], expected)


def test_an_ending_in_capitals_does_not_hide_a_damaged_file(tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "scan.nii.gz").rename(tmp_path / "SCAN.NII.GZ")
    scan.write_bytes(scan.read_bytes()[:-6])

    assert_two_lines(call(scan, "-o", tmp_path / "out", "-q"), "damaged or cut short")


def test_an_existing_result_is_not_replaced(tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "scan.nii.gz")
    call(scan)
    mean = tmp_path / "scan_imputed" / "scan_desc-mean.nii.gz"
    mean.write_bytes(b"mine")

    refused = call(scan, "--seed", 1)
    replaced = call(scan, "--overwrite")

    assert_two_lines(refused, "exists", "--overwrite")
    assert replaced.exit_code == 0
    assert mean.read_bytes() != b"mine"


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--model", "nonsense"], ("no model is called 'nonsense'", "cross-plane-ridge")),
        (["--device", "cuda"], ("cuda",)),
        (["--spacing", "7"], ("spacing",)),
        (["--observed", "gone.nii.gz"], ("gone.nii.gz does not exist",)),
        (["-o", "file.txt/out"], ("cannot write into", "-o")),
        (["-o", "file.txt"], ("is a file, and none ending in", "folder")),
    ],
)
def test_a_wrong_wish_is_two_lines(
    arguments: list[str],
    fragments: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").touch()
    scan = save_scan(tmp_path / "scan.nii.gz")

    assert_two_lines(call(scan, *arguments, "-q"), *fragments)


@pytest.mark.parametrize("name", ["labels.nii.gz", "sub-1_part-phase_T2w.nii.gz"])
def test_what_holds_no_intensities_is_two_lines_and_force_goes_on(
    name: str, tmp_path: Path
) -> None:
    data = np.random.default_rng(0).integers(0, 900, (14, 12, 5)).astype(np.int16)
    if name == "labels.nii.gz":
        data = np.zeros((14, 12, 5), np.int16)
        data[3:9, 3:9, 1:4] = 17
    nib.Nifti1Image(data, np.diag([1.0, 1.0, 3.0, 1.0])).to_filename(tmp_path / name)

    refused = call(tmp_path / name, "--model", "linear", "-o", tmp_path / "out", "-q")
    forced = call(tmp_path / name, "--model", "linear", "-o", tmp_path / "out", "--force")
    again = call(tmp_path / name, "--model", "linear", "-o", tmp_path / "out", "--force")

    assert_two_lines(refused, f"{name} holds no intensities but ", "--force")
    assert forced.exit_code == 0
    assert f"warning: {name} holds no intensities but " in forced.stderr
    assert "was made before" in again.stderr


def test_a_scan_that_cannot_be_registered_is_told_options_of_this_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def searched(*_: object) -> None:
        raise RuntimeError("all samples map outside moving image buffer")  # as SimpleITK says

    scan = save_scan(tmp_path / "a.nii")
    monkeypatch.setattr("mriimpute.simulation.registration._searched", searched)

    result = call(scan, "--model", "linear", "--space", "template", "-q")

    assert_two_lines(result, "registered to the template", "leave --space template out")


def bad_files(folder: Path) -> dict[str, Path]:
    """Scans that must be refused, by what is wrong with them."""
    good = save_scan(folder / "good.nii.gz")
    scans = {name: folder / f"{name}.nii.gz" for name in ("cut", "garbage", "4d", "rgb", "nan")}
    scans |= {name: folder / f"{name}.nii.gz" for name in ("slice", "zero", "full")}
    scans |= {"missing": folder / "gone.nii.gz", "text": folder / "scan.txt"}
    scans["text"].touch()
    scans["cut"].write_bytes(good.read_bytes()[:1200])
    scans["garbage"].write_bytes(gzip.compress(b"garbage" * 100))
    cube = np.ones((8, 8, 8), np.float32)
    colour = np.zeros((8, 8, 8), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    arrays = {
        "4d": np.ones((8, 8, 8, 3), np.float32),
        "rgb": colour,
        "nan": np.full_like(cube, np.nan),
        "slice": cube[:, :, :1],
        "full": cube,
    }
    for name, array in arrays.items():
        nib.save(nib.Nifti1Image(array, np.eye(4)), scans[name])
    image = nib.Nifti1Image(cube, np.eye(4))
    raw = bytearray(image.to_bytes())
    raw[76 + 4 * 3 : 76 + 4 * 4] = bytes(4)  # pixdim[3] = 0
    scans["zero"].write_bytes(gzip.compress(bytes(raw)))
    return scans


@pytest.mark.parametrize(
    ("kind", "fragment"),
    [
        ("missing", "does not exist"),
        ("text", "lists no scan"),
        ("garbage", "cannot be read as an image"),
        ("cut", "damaged or cut short"),
        ("4d", "volumes, of"),
        ("rgb", "colour"),
        ("nan", "every voxel is NaN"),
        ("slice", "a single slice"),
        ("zero", "voxel size"),
        ("full", "nothing to impute"),
    ],
)
def test_a_scan_that_cannot_be_imputed_is_two_lines_and_no_output(
    kind: str, fragment: str, tmp_path: Path
) -> None:
    scan = bad_files(tmp_path)[kind]

    result = call(scan, "-o", tmp_path / "out", "-q")

    assert_two_lines(result, fragment, scan.name)
    assert not (tmp_path / "out").exists()


def test_overwriting_leaves_nothing_of_an_earlier_call(tmp_path: Path) -> None:
    scan, out = save_scan(tmp_path / "scan.nii.gz"), tmp_path / "out"
    call(scan, "-o", out, "--samples", 3)

    call(scan, "-o", out, "--overwrite", "--model", "linear")

    labels = ("mean", "observed")
    wanted = {f"scan_desc-{label}.{end}" for label in labels for end in ("nii.gz", "json")}
    assert {path.name for path in out.iterdir()} == wanted


def test_a_batch_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    scans = [save_scan(tmp_path / f"{name}.nii.gz", seed=n) for n, name in enumerate("abc")]
    call(*scans, "-o", tmp_path / "out")
    kept = tmp_path / "out" / "a_desc-mean.nii.gz"
    before = kept.stat().st_mtime_ns
    (tmp_path / "out" / "b_desc-mean.json").unlink()
    save_scan(scans[2], seed=7)  # another scan under an old name

    again = call(*scans, "-o", tmp_path / "out")
    other = call(*scans, "-o", tmp_path / "out", "--seed", 1)

    assert again.exit_code == 1
    assert "1 of 3 were done before" in again.stderr
    assert again.stdout.splitlines() == [str(tmp_path / "out" / "b_desc-mean.nii.gz")]
    assert "c_desc-mean.nii.gz exists" in again.stderr
    assert kept.stat().st_mtime_ns == before
    assert other.exit_code == 1
    assert "failed: 3 of 3" in other.stderr


def test_only_one_split_of_a_cohort(tmp_path: Path) -> None:
    for name in ("sub-a", "sub-b"):
        save_scan(tmp_path / "cohort" / name / "anat" / f"{name}_T1w.nii.gz")
    table = "participant_id\tsplit\nsub-a\ttrain\nsub-b\ttest\n"
    (tmp_path / "cohort" / "participants.tsv").write_text(table)

    tested = call(tmp_path / "cohort", "--split", "test", "-o", tmp_path / "out")
    none = call(tmp_path / "cohort", "--split", "val", "-o", tmp_path / "out")

    assert [Path(line).name for line in tested.stdout.splitlines()] == [
        "sub-b_desc-mean_T1w.nii.gz"
    ]
    assert_two_lines(none, "puts no scan into the val split")


def test_results_of_a_linked_scan_go_beside_the_link(tmp_path: Path) -> None:
    stored = save_scan(tmp_path / "store" / "0a1b.nii.gz")
    (tmp_path / "scan.nii.gz").symlink_to(stored)

    result = call(tmp_path / "scan.nii.gz", "--model", "linear")

    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "scan_imputed" / "scan_desc-mean.nii.gz").is_file()
    assert [path.name for path in stored.parent.iterdir()] == ["0a1b.nii.gz"]


@pytest.mark.slow
def test_template_space_is_the_common_grid(tmp_path: Path) -> None:
    scan = template_as_thick_slices(tmp_path / "scan.nii.gz")

    result = call(scan, "--space", "template", "-o", tmp_path / "out")

    assert result.exit_code == 0, result.stderr
    mean = nib.load(tmp_path / "out" / "scan_space-template_desc-mean.nii.gz")
    assert mean.shape == (192, 224, 176)
    assert_allclose(nib.affines.voxel_sizes(mean.affine), 1)
    template = nib.processing.resample_from_to(nib.load(mni152()), mean, order=1).get_fdata()
    inside = template > 30
    alike = np.corrcoef(mean.get_fdata()[inside], template[inside])[0, 1]
    assert alike > 0.9


def template_as_thick_slices(path: Path) -> Path:
    """Saves every sixth slice of the template, moved and turned."""
    image = nib.load(mni152())
    motion = nib.affines.from_matvec(rotation((4.0, -3.0, 6.0)), [8.0, -5.0, 12.0])
    thick = np.asarray(image.dataobj, dtype=np.float32)[:, :, ::6]
    nib.save(nib.Nifti1Image(thick, motion @ image.affine @ np.diag([1, 1, 6, 1])), path)
    return path


def test_a_file_name_that_is_not_utf8_is_imputed(tmp_path: Path) -> None:
    stored = save_scan(tmp_path / "scan.nii.gz")
    scan = stored.rename(tmp_path / os.fsdecode(b"K\xf6pf.nii.gz"))

    result = call(scan, "--model", "linear", "-o", tmp_path / "out")

    assert result.exit_code == 0, result.stderr
    assert b"K\xf6pf_desc-mean.nii.gz" in result.stdout_bytes
