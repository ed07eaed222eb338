"""Tests for `mriimpute train`."""

import os
import signal
import tomllib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from mriimpute.checkpoint import load, save
from mriimpute.cli import app, train  # noqa: F401
from mriimpute.methods.cross_plane.network import Config, build
from mriimpute.methods.registry import trainable
from mriimpute.seeds import numpy_stream

TINY = [
    "--model=ppca",
    "--set=model.patch=[4,4,4]",
    "--set=model.latents=3",
    "--set=train.patches=40",
    "--set=train.batch=4",
    "--device=cpu",
]


LINES = [
    "--set=model.channels=4",
    "--set=model.blocks=1",
    "--set=model.hidden=4",
    "--set=lines.gaps=[3]",
    "--set=train.patches=8",
    "--device=cpu",
]
RIDGE = ["--model=cross-plane-ridge", "--device=cpu"]


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a tiny network, in place of those of the package."""
    size = {"channels": 4, "blocks": 1, "hidden": 4}
    tensors = build(Config(**size), seed=7).state_dict()
    path = tmp_path / "weights.safetensors"
    save(path, {f"network.{k}": v for k, v in tensors.items()}, {"model": size})
    monkeypatch.setattr("mriimpute.methods.cross_plane.weights.shipped", lambda name: path)
    return path


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    folder = tmp_path / "cohort"
    folder.mkdir()
    for n in range(2):
        data = numpy_stream(n, "scan").random((12, 12, 6), np.float32)
        affine = np.diag([1.0, 1.0, 3.0, 1.0])
        nib.save(nib.Nifti1Image(data, affine), folder / f"head{n}.nii.gz")
    return folder


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def test_cohort_tunes_the_default_model_beside_itself(cohort: Path, weights: Path) -> None:
    result = run(cohort, *LINES)

    folder = cohort.with_name("cohort_cross-plane")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{folder}\n"
    assert f"mriimpute impute SCAN --model {folder}" in result.stderr
    assert "the weights of the package:" in result.stderr
    assert load(folder / "model.safetensors")[1]["start"].startswith("sha256:")


def test_from_scratch_needs_no_weights(cohort: Path, weights: Path) -> None:
    weights.unlink()

    refused = run(cohort, *LINES)
    scratch = run(cohort, *LINES, "--from-scratch")

    assert refused.exit_code == 1
    assert "pass --from-scratch" in refused.stderr
    assert scratch.exit_code == 0, scratch.stderr


def test_from_scratch_is_laid_under_the_command_line() -> None:
    result = run("nowhere", "--from-scratch", "--set", "train.rate=0.25", "--dry-run")

    course = tomllib.loads(result.stdout)["train"]
    assert (course["start"], course["patches"], course["rate"]) == ("scratch", 130_000, 0.25)


def test_command_line_is_laid_over_file_and_file_over_preset(cohort: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('name = "ppca"\n[train]\nbatch = 6\nrate = 0.5\n')

    result = run(cohort, "--config", file, "--set", "train.rate=0.25", "--dry-run")

    settings = tomllib.loads(result.stdout)
    assert (settings["name"], settings["train"]["objective"]) == ("ppca", "evidence")
    assert (settings["train"]["batch"], settings["train"]["rate"]) == (6, 0.25)
    assert not list(tmp_path.glob("cohort_*"))


def test_same_command_says_that_the_run_is_finished(cohort: Path, tmp_path: Path) -> None:
    first, second = (run(cohort, "-o", tmp_path / "run", *TINY) for _ in range(2))

    assert (first.exit_code, second.exit_code) == (0, 0), first.stderr + second.stderr
    assert "is finished" not in first.stderr
    assert "is finished" in second.stderr
    assert second.stdout == first.stdout == f"{tmp_path / 'run'}\n"


def test_other_settings_in_the_same_folder_are_two_lines(cohort: Path, tmp_path: Path) -> None:
    run(cohort, "-o", tmp_path / "run", *TINY)

    result = run(cohort, "-o", tmp_path / "run", *TINY, "--set=train.rate=0.5")

    assert result.exit_code == 1
    error, hint = result.stderr.splitlines()[-2:]
    assert "train.rate = 0.005, not 0.5" in error
    assert "--overwrite" in hint


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_keeps_what_was_learnt_and_exits_with_130(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(*arguments: object) -> float:
        os.kill(os.getpid(), signal.SIGINT)
        return 0.01

    with monkeypatch.context() as patched:
        patched.setattr("mriimpute.methods.patches.learner.learning_rate", press)
        stopped = run(cohort, "-o", tmp_path / "run", *TINY)
    resumed = run(cohort, "-o", tmp_path / "run", *TINY)

    assert stopped.exit_code == 130
    assert stopped.stdout == ""
    assert "run the same command again to go on" in stopped.stderr
    assert resumed.exit_code == 0, resumed.stderr
    assert "going on after 4 of 40 patches" in resumed.stderr


@pytest.mark.parametrize("options", [RIDGE, TINY])
def test_broken_scan_is_named_and_the_others_are_learnt_from(
    cohort: Path, tmp_path: Path, options: list[str]
) -> None:
    (cohort / "bad.nii.gz").write_bytes(b"no image")

    first, again = (run(cohort, "-o", tmp_path / "run", *options) for _ in range(2))

    assert (first.exit_code, again.exit_code) == (1, 1), first.stderr
    error, hint = first.stderr.splitlines()[:2]
    assert error.startswith("error: ")
    assert "bad.nii.gz" in error
    assert hint.startswith("hint: ")
    assert first.stderr.splitlines()[-1] == "left out: 1 scans: bad.nii.gz"
    assert first.stdout == f"{tmp_path / 'run'}\n"
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert "is finished" in again.stderr


def test_unknown_model_names_the_known_ones(cohort: Path) -> None:
    result = run(cohort, "--model", "unet")

    assert result.exit_code == 1
    assert result.stderr.splitlines()[0] == "error: no model is called 'unet'"
    assert all(name in result.stderr for name in trainable())


def test_help_has_a_line_for_every_model() -> None:
    text = CliRunner().invoke(app, ["train", "--help"]).stdout

    assert all(f"{name}:" in text for name in trainable())


@pytest.mark.usefixtures("quick_processes")
def test_scans_are_read_side_by_side_into_a_cache_that_other_runs_share(
    cohort: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    models = []
    for name, words in (("plain", []), ("first", ["--jobs=2"]), ("second", [])):
        where = ["--cache", kept] if name != "plain" else []
        result = run(cohort, "-o", tmp_path / name, *TINY, *words, *where)
        assert result.exit_code == 0, result.stderr
        models.append((tmp_path / name / "model.safetensors").read_bytes())

    assert models[0] == models[1] == models[2]
    assert len(list(kept.iterdir())) == 2
    assert not (tmp_path / "plain" / "cache").exists()
