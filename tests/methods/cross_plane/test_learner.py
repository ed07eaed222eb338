"""Tests for mriimpute.methods.cross_plane.learner."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from mriimpute.checkpoint import load
from mriimpute.config import merge
from mriimpute.errors import ConfigError, TrainingError
from mriimpute.files import sha256
from mriimpute.progress import silent
from mriimpute.training import train

Package = Callable[..., Path]

SETTINGS: dict[str, Any] = {
    "name": "cross-plane",
    "model": {"channels": 4, "blocks": 1, "hidden": 4},
    "lines": {"gaps": [2, 3], "gap_mm": [1.0, 9.0], "edge": 12},
    "train": {
        "start": "scratch",
        "patches": 48,
        "batch": 4,
        "rate": 0.01,
        "report": 16,
        "val_patches": 2,
    },
}
FROM_PACKAGE = {"start": "package"}
TIMING = ("seconds", "steps_per_second")


def fit(sim: Path, run: Path, **changes: Any) -> Path:
    chosen = merge(SETTINGS, changes)
    return train(sim, run, chosen, seed=0, device="cpu", max_minutes=None, track=silent)


def network_of(model: Path) -> dict[str, Any]:
    tensors = load(model)[0]
    return {k: v.tolist() for k, v in tensors.items() if k.startswith("network.")}


def shrink(sim: Path, number: int, rng: np.random.Generator) -> None:
    """Replaces a scan by one of slices of 4 x 4 pixels."""
    name = f"sub-{number}"
    path = sim / "cohort" / name / "anat" / f"{name}_T1w.nii.gz"
    data = rng.random((4, 4, 6)).astype(np.float32)
    nib.save(nib.Nifti1Image(data, np.diag([1.0, 1.0, 3.0, 1.0])), path)


def journal(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]


def test_smooth_texture_is_learnt_from_scratch_and_from_weights(
    tmp_path: Path, rng: np.random.Generator, package: Package
) -> None:
    wide = {"channels": 12, "hidden": 12}  # those of 4 die now and then
    package(channels=12)
    texture = ndimage.gaussian_filter(rng.normal(size=(24, 24, 5)), (1.5, 1.5, 0), mode="wrap")
    image = nib.Nifti1Image(texture.astype(np.float32), np.diag([1.0, 1.0, 3.0, 1.0]))
    nib.save(image, tmp_path / "head.nii.gz")

    lines = {"gaps": [3], "edge": 16, "gamma": 0.0, "contrast": 0.0, "short": 0.0}
    course = {"patches": 240, "report": 60, "average": 0.8, "rate": 0.005}
    for start in ("scratch", "package"):
        run = tmp_path / start
        changes = {"model": wide, "lines": lines, "train": {**course, "start": start}}
        fit(tmp_path / "head.nii.gz", run, **changes)

        first, *_, last = [line for line in journal(run) if line["step"]]
        assert last["loss"] < 0.9 * first["loss"]
        assert last["val_gain_db"]["3"] > 0.5
    assert journal(run)[0]["val_gain_db"]["3"] <= 0
    assert network_of(run / "model.safetensors") != network_of(package(channels=12))


@pytest.mark.parametrize(
    "course", [{"start": "scratch"}, FROM_PACKAGE, {**FROM_PACKAGE, "rate": 0.5}]
)
def test_stopped_run_ends_with_the_bytes_of_one_that_never_stopped(
    sim: Path,
    tmp_path: Path,
    stop_after: Callable[[int], None],
    package: Package,
    course: dict[str, Any],
) -> None:
    package()
    whole = fit(sim, tmp_path / "whole", train=course)

    stop_after(6)
    with pytest.raises(KeyboardInterrupt):
        fit(sim, tmp_path / "parts", train=course)
    stop_after(1000)
    half = load(tmp_path / "parts" / "model.safetensors")[1]["step"]
    told = json.loads((tmp_path / "parts" / "gain.json").read_text())
    assert (told["step"], told["finished"]) == (6, False)
    assert ("over_start_db" in told) == (course["start"] == "package")
    parts = fit(sim, tmp_path / "parts", train=course)

    assert half == 6
    assert parts.read_bytes() == whole.read_bytes()
    first, second = (
        [{k: v for k, v in line.items() if k not in TIMING} for line in journal(path.parent)]
        for path in (whole, parts)
    )
    assert first == second


@pytest.mark.parametrize("course", [{"start": "scratch"}, {**FROM_PACKAGE, "rate": 0.5}])
def test_run_that_saves_often_is_judged_by_its_weights_and_not_by_earlier_ones(
    sim: Path,
    tmp_path: Path,
    stop_after: Callable[[int], None],
    package: Package,
    course: dict[str, Any],
) -> None:
    package()
    for run, minutes in (("often", 1e-9), ("once", 60.0)):
        stop_after(2)
        with pytest.raises(KeyboardInterrupt):
            fit(sim, tmp_path / run, train={**course, "report": 4000, "save_minutes": minutes})

    first, second = (load(tmp_path / run / "model.safetensors")[0] for run in ("often", "once"))
    assert first.keys() == second.keys()
    assert all(first[name].equal(second[name]) for name in second)
    notes = [(tmp_path / run / "gain.json").read_text() for run in ("often", "once")]
    assert notes[0] == notes[1]


def test_model_knows_every_gap_that_it_was_asked_to_learn(sim: Path, tmp_path: Path) -> None:
    tensors, document = load(fit(sim, tmp_path / "run"))

    factors = {name: len(tensor) for name, tensor in tensors.items() if name.startswith("factor")}
    assert factors == {"factor.2": 1, "factor.3": 2}
    assert all((tensors[name] > 0).all() for name in factors)
    assert document["model"] == {**SETTINGS["model"], "directions": False}


def test_finished_run_is_left_alone(
    sim: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(sim, tmp_path / "run")

    with caplog.at_level("INFO"):
        fit(sim, tmp_path / "run")

    assert "is finished: 48 crops" in caplog.text


def test_cohort_without_a_stack_cannot_be_learnt_from(tmp_path: Path) -> None:
    data = np.random.default_rng(0).random((6, 6, 6)).astype(np.float32)
    data[2:4, 2:4, 2:4] = np.nan
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "head.nii.gz")

    with pytest.raises(TrainingError, match="no scan of the cohort is a stack of slices"):
        fit(tmp_path / "head.nii.gz", tmp_path / "run")


def test_scan_that_is_too_small_is_named(
    sim: Path, tmp_path: Path, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    shrink(sim, 1, rng)

    fit(sim, tmp_path / "run", train={"patches": 4})

    assert "sub-1_T1w.nii.gz has no room to hide lines in and is left out" in caplog.text
    assert "sub-0" not in caplog.text


def test_validation_scan_that_shows_nothing_leaves_no_model_without_factors(
    sim: Path, tmp_path: Path, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    shrink(sim, 2, rng)

    model = fit(sim, tmp_path / "run", train={"patches": 4})

    assert {"factor.2", "factor.3"} <= load(model)[0].keys()
    assert "the std is calibrated on those that were learnt from" in caplog.text
    gain = json.loads((tmp_path / "run" / "gain.json").read_text())
    assert gain["words"].startswith("hidden lines of the scans that were learnt from")


def test_nothing_learnt_leaves_the_network_of_the_package(
    sim: Path, tmp_path: Path, package: Package
) -> None:
    weights = package()

    model = fit(sim, tmp_path / "run", train={**FROM_PACKAGE, "rate": 1e-300})

    start, *_, end = journal(tmp_path / "run")
    assert network_of(model) == network_of(weights)
    assert load(model)[1]["start"] == f"sha256:{sha256(weights)}"
    assert start["step"] == 0
    assert start["val_gain_db"] == end["val_gain_db"]
    gain = json.loads((tmp_path / "run" / "gain.json").read_text())
    assert (gain["finished"], gain["is_gain"], gain["over_start_db"]) == (True, False, 0.0)
    assert gain["over_interpolation_db"] == end["val_gain_db"]["3"]
    assert gain["words"].endswith("no gain: keep the weights of the package")


def test_weights_that_became_worse_are_not_kept(
    sim: Path, tmp_path: Path, package: Package, caplog: pytest.LogCaptureFixture
) -> None:
    weights = package()

    model = fit(sim, tmp_path / "run", train={**FROM_PACKAGE, "rate": 0.5})

    start, *_, end = journal(tmp_path / "run")
    assert end["val_gain_db"]["3"] < start["val_gain_db"]["3"]
    assert network_of(model) == network_of(weights)
    assert "no gain: keep the weights of the package (the model file has them" in caplog.text


def test_gap_that_no_scan_shows_keeps_the_factors_of_the_package(
    sim: Path, tmp_path: Path, package: Package
) -> None:
    weights = load(package())[0]

    tensors = load(fit(sim, tmp_path / "run", train=FROM_PACKAGE))[0]

    factors = {name for name in tensors if name.startswith("factor")}
    assert factors == {"factor.2", "factor.3", "factor.5"}
    assert tensors["factor.5"].equal(weights["factor.5"])
    assert not tensors["factor.2"].equal(weights["factor.2"])


def test_gaps_of_finer_copies_are_not_those_that_weights_are_judged_by(
    sim: Path, tmp_path: Path
) -> None:
    for path in (sim / "cohort").rglob("sub-[012]_T1w.nii.gz"):
        image = nib.load(path)
        data = image.get_fdata(dtype=np.float32)
        nib.save(nib.Nifti1Image(data, np.diag([2.0, 2.0, 4.0, 1.0])), path)

    lines = {"gaps": [4], "scales": [0.5, 1.0]}
    fit(sim, tmp_path / "run", lines=lines, train={"patches": 4})

    scores = journal(tmp_path / "run")[-1]["val_gain_db"]
    gain = json.loads((tmp_path / "run" / "gain.json").read_text())
    assert scores.keys() == {"2", "4"}
    assert gain["over_interpolation_db"] == scores["2"] != scores["4"]


def test_scratch_does_not_look_into_the_package(
    sim: Path, tmp_path: Path, package: Package
) -> None:
    package().write_text("whoever opens this fails")

    model = fit(sim, tmp_path / "run")

    assert load(model)[1]["start"] is None
    assert all(line["step"] > 0 for line in journal(tmp_path / "run"))


def test_weights_of_another_size_are_refused_before_a_scan_is_read(
    tmp_path: Path, package: Package
) -> None:
    package()

    with pytest.raises(ConfigError, match=r"model.channels is 6, but 4 in the weights") as failure:
        fit(tmp_path / "nowhere", tmp_path / "run", train=FROM_PACKAGE, model={"channels": 6})

    assert "--from-scratch" in failure.value.hint
    assert not (tmp_path / "run").exists()


def test_package_without_weights_says_so(sim: Path, tmp_path: Path, package: Package) -> None:
    package().unlink()

    with pytest.raises(ConfigError, match="the package has no weights") as failure:
        fit(sim, tmp_path / "run", train=FROM_PACKAGE)

    assert "--from-scratch" in failure.value.hint


def test_run_does_not_go_on_from_other_weights(
    sim: Path, tmp_path: Path, package: Package, stop_after: Callable[[int], None]
) -> None:
    package()
    stop_after(6)
    with pytest.raises(KeyboardInterrupt):
        fit(sim, tmp_path / "run", train=FROM_PACKAGE)

    package(seed=8)
    with pytest.raises(ConfigError, match="begun from other weights"):
        fit(sim, tmp_path / "run", train=FROM_PACKAGE)


def test_run_that_was_killed_before_its_first_checkpoint_tells_its_start_once(
    sim: Path, tmp_path: Path, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: object) -> list[float]:
        raise MemoryError

    package()
    with monkeypatch.context() as patched:
        patched.setattr("mriimpute.methods.cross_plane.learner.LineLearner._descended", killed)
        with pytest.raises(MemoryError):
            fit(sim, tmp_path / "run", train=FROM_PACKAGE)
    before = [line["step"] for line in journal(tmp_path / "run")]
    fit(sim, tmp_path / "run", train=FROM_PACKAGE)

    assert before == [0]
    assert [line["step"] for line in journal(tmp_path / "run")] == [0, 4, 8, 12]
