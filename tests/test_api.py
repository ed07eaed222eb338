"""From Python, mriimpute does what its commands do."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from typer.testing import CliRunner

import mriimpute
from mriimpute import api
from mriimpute import config as toml
from mriimpute.cli import app
from mriimpute.errors import ConfigError
from mriimpute.volume import Volume


@pytest.fixture
def thick(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A scan of integers, slices three times as far apart as pixels, stored right to left."""
    data = rng.integers(0, 900, (12, 10, 5)).astype(np.int16)
    image = nib.Nifti1Image(data, np.diag([-1.0, 1.0, 3.0, 1.0]))
    image.to_filename(tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def test_a_path_gives_what_the_command_writes(thick: Path, tmp_path: Path) -> None:
    line = ["impute", thick, "--samples", 2, "-o", tmp_path / "out", "--no-progress"]
    CliRunner().invoke(app, list(map(str, line)), catch_exceptions=False)

    imputed = mriimpute.impute(str(thick), samples=2)

    files = {"mean": imputed.mean, "std": imputed.std, "observed": imputed.observed}
    files |= {f"draw{n:03d}": image for n, image in enumerate(imputed.draws, start=1)}
    for label, image in files.items():
        written = nib.load(tmp_path / "out" / f"scan_desc-{label}.nii.gz")
        assert image is not None
        assert image.to_bytes() == written.to_bytes(), label


def test_images_say_where_they_lie(thick: Path) -> None:
    imputed = mriimpute.impute(thick, model="pchip", samples=0)

    for image in (imputed.mean, imputed.observed):
        assert_array_equal(image.affine, np.diag([-1.0, 1.0, 1.0, 1.0]))
        assert_array_equal(image.affine, image.header.get_best_affine())


@pytest.mark.parametrize("kind", ["path", "image", "saved", "volume"])
def test_a_path_an_image_and_a_volume_are_one_scan(kind: str, thick: Path) -> None:
    image = nib.load(thick)
    data = image.get_fdata(dtype=np.float32)
    volume = Volume(data[::-1], np.ones(data.shape, bool), np.diag([1.0, 1.0, 3.0, 1.0]))
    saved = nib.Nifti1Image(np.asarray(image.dataobj), image.affine)
    saved.to_filename(thick.with_name("saved.nii.gz"))
    scan = {"path": thick, "image": image, "saved": saved, "volume": volume}[kind]

    imputed = mriimpute.impute(scan, model="pchip")

    expected = mriimpute.impute(thick, model="pchip").mean.get_fdata()
    found = imputed.mean.get_fdata()
    assert_array_equal(found[::-1] if kind == "volume" else found, expected)
    assert imputed.std is None
    assert imputed.draws == ()


def test_acquired_voxels_of_mean_and_draws_come_back_bit_for_bit(thick: Path) -> None:
    imputed = mriimpute.impute(thick, samples=1, model="cross-plane-ridge")

    acquired = nib.load(thick).get_fdata()
    for image in (imputed.mean, *imputed.draws):
        assert_array_equal(image.get_fdata()[:, :, ::3], acquired)
    assert_array_equal(imputed.observed.get_fdata()[:, :, ::3], 1)
    assert imputed.observed.get_fdata().sum() == acquired.size


def test_quality_says_what_hidden_lines_of_the_scan_show(rng: np.random.Generator) -> None:
    data = rng.random((40, 40, 6), np.float32)
    scan = Volume(data, np.ones(data.shape, bool), np.diag([1.0, 1.0, 3.0, 1.0]))

    quality = mriimpute.impute(scan).quality

    assert quality["method"] == "cross-plane"
    assert quality["missing_share"] == pytest.approx(10 / 16)
    # Of 3 slices of 40 x 40 pixels, twice 13 intervals, in each 2 lines of 40 pixels: all of them
    # that are brighter than air.
    assert 1000 < quality["gaps"]["3"]["target_pixels"] <= 3 * 2 * 13 * 40
    assert quality["gaps"]["3"]["error_over_std"] > 0.5
    assert 0 <= quality["gaps"]["3"]["shrinkage"] <= 1
    assert quality["verdict"] == "fail"
    assert "foreign: slices hold little but noise" in " ".join(quality["reasons"])
    assert abs(quality["measures"]["smoothness"]["value"]) < 0.1


def test_a_volume_says_itself_what_was_observed(thick: Path) -> None:
    volume = Volume(np.zeros((4, 4, 4), np.float32), np.ones((4, 4, 4), bool), np.eye(4))

    with pytest.raises(ConfigError, match="says itself"):
        mriimpute.impute(volume, observed=thick)


@pytest.mark.parametrize(
    ("own", "given", "used"),
    [
        (6.0, {}, 6.0),
        (6.0, {"thickness": "auto"}, 6.0),
        (6.0, {"thickness": 5.0}, 5.0),
        (0.0, {"thickness": "auto"}, 0.0),
        (0.0, {}, 0.0),
    ],
)
def test_a_volume_says_itself_how_thick_slices_are(
    own: float, given: dict[str, Any], used: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "volume.json").write_text('{"SliceThickness": 4}')  # of another scan
    data = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
    volume = Volume(data, np.ones(data.shape, bool), np.diag([1.0, 1.0, 6.0, 1.0]), own)

    quality = mriimpute.impute(volume, model="linear", **given).quality

    assert quality["assumed_thickness_mm"] == used
    assert quality["stated_thickness_mm"] == (own or None)


def test_an_image_without_a_file_has_no_sidecar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "image.json").write_text('{"SliceThickness": 4}')
    data = np.arange(64, dtype=np.float32).reshape(4, 4, 4)

    with pytest.raises(ConfigError, match="does not say how thick"):
        mriimpute.impute(
            nib.Nifti1Image(data, np.diag([1.0, 1.0, 6.0, 1.0])), model="linear", thickness="auto"
        )


def test_settings_are_laid_over_each_other(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('name = "ppca"\n[train]\nbatch = 6\nrate = 0.5\n')

    settings = api.settings_of(config=str(tmp_path / "own.toml"), settings=["train.rate=0.25"])

    assert settings["name"] == "ppca"
    assert (settings["train"]["batch"], settings["train"]["rate"]) == (6, 0.25)


def test_tables_are_laid_over_the_preset_and_whole_settings_have_one_model(
    sim: Path, tmp_path: Path
) -> None:
    tables = {"model": {"patch": [4, 4, 4], "latents": 3}, "train": {"patches": 4, "batch": 4}}

    run = mriimpute.train(sim, tmp_path / "run", model="ppca", settings=tables, device="cpu")

    train = toml.read_toml(run / "config.toml")["train"]
    assert (train["patches"], train["batch"]) == (4, 4)
    assert train["objective"] == api.settings_of("ppca")["train"]["objective"] == "evidence"
    with pytest.raises(ConfigError, match="the settings are those of 'ppca', not of 'mvae'"):
        mriimpute.train(sim, run, model="mvae", settings={"name": "ppca", **tables})


def test_train_and_impute_with_what_was_learnt(sim: Path, tmp_path: Path) -> None:
    small = ["model.patch=[4,4,4]", "model.latents=3", "train.patches=80", "train.batch=4"]

    run = mriimpute.train(str(sim), tmp_path / "run", model="ppca", settings=small, device="cpu")

    scan = sim / "cohort" / "sub-0" / "anat" / "sub-0_T1w.nii.gz"
    assert run == tmp_path / "run"
    assert mriimpute.impute(scan, model=run).quality["method"] == "ppca"


def test_importing_the_package_loads_nothing() -> None:
    code = "import sys, mriimpute; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603


def test_unknown_names_are_no_part_of_the_package() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        mriimpute.no_such_thing  # noqa: B018
    assert set(mriimpute.__all__) == {
        *("Imputed", "evaluate", "impute", "pool", "simulate", "train")
    }
    assert set(mriimpute.__all__) <= set(dir(mriimpute))


def test_a_report_has_its_page_also_where_the_figure_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(*_: object) -> None:
        raise RuntimeError

    written: list[Path] = []
    summary = SimpleNamespace(report=tmp_path)
    monkeypatch.setattr("mriimpute.evaluation.evaluate", lambda *_, **__: summary)
    monkeypatch.setattr("mriimpute.report.write_figure", draw)
    monkeypatch.setattr("mriimpute.report.write_page", lambda path, _: written.append(path))

    with pytest.raises(RuntimeError):
        api.evaluate("sim", tmp_path, device="cpu")

    assert written == [tmp_path / "index.html"]
