"""Tests for mriimpute.training.run, the loop and the run folder."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mriimpute.checkpoint import load, save
from mriimpute.errors import ConfigError, OutputError, TrainingError, VolumeError
from mriimpute.methods.patches import models
from mriimpute.methods.patches.models.ppca import Ppca
from mriimpute.progress import silent
from mriimpute.training import train
from mriimpute.training.folder import RunFolder

StopAfter = Callable[..., None]
Settings = dict[str, Any]


def fit(
    sim: Path, run: Path, settings: Settings, *, minutes: float | None = None, **options: Any
) -> Path:
    return train(
        sim,
        run,
        settings,
        seed=options.pop("seed", 0),
        device="cpu",
        max_minutes=minutes,
        track=silent,
        **options,
    )


def journal(run: Path) -> list[dict[str, Any]]:
    """The lines of the journal, without what a clock says."""
    lines = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    clock = ("seconds", "patches_per_second")
    return [{k: v for k, v in line.items() if k not in clock} for line in lines]


def test_run_folder_holds_settings_journal_checkpoint_and_model(
    sim: Path, tmp_path: Path, settings: Settings
) -> None:
    model = fit(sim, tmp_path / "run", settings)

    files = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert files == [
        "checkpoint.safetensors",
        "config.toml",
        "gain.json",
        "journal.jsonl",
        "model.safetensors",
    ]
    lines = journal(tmp_path / "run")
    assert [line["patches"] for line in lines] == [20, 40, 60, 80]
    tensors, document = load(model)
    assert (document["name"], document["step"], document["scans"]) == ("ppca", 20, 2)
    assert tensors.keys() == models.build("ppca", document["model"], seed=0).state_dict().keys()


def test_loss_falls_on_scans_that_were_learnt_and_on_those_that_were_not(
    sim: Path, tmp_path: Path, settings: Settings
) -> None:
    settings["train"] |= {"patches": 400, "report": 100, "rate": 0.03}

    fit(sim, tmp_path / "run", settings)

    first, *_, last = journal(tmp_path / "run")
    assert last["loss"] < first["loss"] - 0.2
    assert last["val_loss"] < first["val_loss"] - 0.2
    gain = json.loads((tmp_path / "run" / "gain.json").read_text())
    assert (gain["first_nats"], gain["last_nats"]) == (first["val_loss"], last["val_loss"])
    assert gain["is_gain"]
    assert gain["finished"]


@pytest.mark.parametrize("stops", [[8], [1, 5, 3]])
def test_stopped_run_ends_with_the_bytes_of_one_that_never_stopped(
    sim: Path, tmp_path: Path, settings: Settings, stop_after: StopAfter, stops: list[int]
) -> None:
    whole = fit(sim, tmp_path / "whole", settings)

    for steps in stops:
        stop_after(steps)
        with pytest.raises(KeyboardInterrupt):
            fit(sim, tmp_path / "parts", settings)
    stop_after(1000)
    parts = fit(sim, tmp_path / "parts", settings)

    assert parts.read_bytes() == whole.read_bytes()
    assert journal(tmp_path / "parts") == journal(tmp_path / "whole")
    checkpoints = [
        path.with_name("checkpoint.safetensors").read_bytes() for path in (whole, parts)
    ]
    assert checkpoints[0] == checkpoints[1]


@pytest.mark.parametrize(
    ("name", "objective", "model"),
    [
        ("ppca", "elbo", {"latents": 3}),
        # One that gathers a mean beside its parameters, and one with parameters that are fixed.
        ("conv-mean", "elbo", {"levels": 1, "channels": 2, "latents": 2}),
        ("tae", "tomographic", {"hidden": 4, "prior_hidden": 3, "learn_noise": False}),
    ],
)
def test_run_with_draws_is_resumed_to_the_same_bytes(
    sim: Path,
    tmp_path: Path,
    settings: Settings,
    stop_after: StopAfter,
    name: str,
    objective: str,
    model: Settings,
) -> None:
    settings |= {"name": name, "model": {"patch": [4, 4, 4], **model}}
    settings["train"] |= {"objective": objective}
    whole = fit(sim, tmp_path / "whole", settings)

    stop_after(8)
    with pytest.raises(KeyboardInterrupt):
        fit(sim, tmp_path / "parts", settings)
    stop_after(1000)

    assert fit(sim, tmp_path / "parts", settings).read_bytes() == whole.read_bytes()


def test_run_that_was_killed_between_checkpoints_loses_the_journal_since(
    sim: Path, tmp_path: Path, settings: Settings, stop_after: StopAfter
) -> None:
    whole = fit(sim, tmp_path / "whole", settings)
    stop_after(6)
    with pytest.raises(KeyboardInterrupt):
        fit(sim, tmp_path / "run", settings)
    with (tmp_path / "run" / "journal.jsonl").open("a") as file:
        file.write('{"step": 10, "patches": 40, "loss": 99}\n{"step": 15, "pat')

    stop_after(1000)
    fit(sim, tmp_path / "run", settings)

    assert journal(tmp_path / "run") == journal(whole.parent)


def test_time_limit_stops_with_a_model_and_the_same_command_goes_on(
    sim: Path, tmp_path: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    whole = fit(sim, tmp_path / "whole", settings)

    with caplog.at_level("INFO"):
        first = fit(sim, tmp_path / "run", settings, minutes=0.0)
    step = load(first)[1]["step"]
    last = fit(sim, tmp_path / "run", settings)

    assert step == 1
    assert "time is up: run the same command to go on" in caplog.text
    assert last.read_bytes() == whole.read_bytes()


def test_finished_run_is_left_alone(
    sim: Path, tmp_path: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    model = fit(sim, tmp_path / "run", settings)
    before = {path: path.stat().st_mtime_ns for path in model.parent.iterdir()}

    with caplog.at_level("INFO"):
        again = fit(sim, tmp_path / "run", settings)

    assert again == model
    assert "is finished: 80 patches" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in model.parent.iterdir()} == before


def test_finished_run_whose_journal_was_cut_short_is_left_alone(
    sim: Path, tmp_path: Path, settings: Settings
) -> None:
    model = fit(sim, tmp_path / "run", settings)
    path = tmp_path / "run" / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    before = (tmp_path / "run" / "gain.json").read_bytes()

    assert fit(sim, tmp_path / "run", settings) == model
    assert (tmp_path / "run" / "gain.json").read_bytes() == before


def test_other_settings_in_the_same_folder_are_refused_by_name(
    sim: Path, tmp_path: Path, settings: Settings
) -> None:
    fit(sim, tmp_path / "run", settings)
    settings["train"]["rate"] = 0.02

    with pytest.raises(ConfigError, match=r"begun with train.rate = 0.01, not 0.02") as failure:
        fit(sim, tmp_path / "run", settings)
    with pytest.raises(ConfigError, match="begun with seed = 0, not 1"):
        fit(sim, tmp_path / "run", settings, seed=1)

    assert "--overwrite" in failure.value.hint


def test_other_scans_in_the_same_folder_are_refused(
    sim: Path, tmp_path: Path, settings: Settings
) -> None:
    fit(sim, tmp_path / "run", settings)
    (sim / "cohort" / "participants.tsv").unlink()
    shutil.rmtree(sim / "cohort" / "sub-3")

    with pytest.raises(ConfigError, match="was begun with other scans"):
        fit(sim, tmp_path / "run", settings)


@pytest.mark.parametrize("old", [False, True], ids=["now", "begun before this was noted"])
def test_other_scans_to_validate_on_are_refused(
    sim: Path, tmp_path: Path, settings: Settings, stop_after: StopAfter, old: bool
) -> None:
    stop_after(8)
    with pytest.raises(KeyboardInterrupt):
        fit(sim, tmp_path / "run", settings)
    if old:
        path = tmp_path / "run" / "checkpoint.safetensors"
        tensors, document = load(path, kind="state")
        del document["validation"]
        save(path, tensors, document, kind="state")
    scan = sim / "cohort" / "sub-1" / "anat" / "sub-1_T1w.nii.gz"
    shutil.copy(scan, sim / "cohort" / "sub-2" / "anat" / "sub-2_T1w.nii.gz")

    stop_after(1000)
    if old:
        assert load(fit(sim, tmp_path / "run", settings))[1]["step"] == 20
        return
    with pytest.raises(ConfigError, match="was begun with other scans to validate on"):
        fit(sim, tmp_path / "run", settings)


def test_a_second_training_in_a_folder_is_refused_while_the_first_one_is_at_work(
    sim: Path, tmp_path: Path, settings: Settings
) -> None:
    with RunFolder(tmp_path / "run").locked():
        for options in ({}, {"overwrite": True}, {"cache": tmp_path / "cache"}):
            with pytest.raises(OutputError, match="run is in use by another process"):
                fit(sim, tmp_path / "run", settings, **options)
        assert not list((tmp_path / "run").iterdir())

    assert not (tmp_path / "run").exists()
    assert load(fit(sim, tmp_path / "run", settings))[1]["step"] == 20


def test_settings_count_before_there_is_a_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.open({"name": "ppca", "seed": 0, "train": {"rate": 0.01}}, overwrite=False)
    folder.begin()

    with pytest.raises(ConfigError, match=r"begun with train.rate = 0.01, not 0.02"):
        folder.open({"name": "ppca", "seed": 0, "train": {"rate": 0.02}}, overwrite=False)


def test_overwrite_begins_anew(sim: Path, tmp_path: Path, settings: Settings) -> None:
    fit(sim, tmp_path / "run", settings)
    settings["train"]["patches"] = 40

    fit(sim, tmp_path / "run", settings, overwrite=True)

    assert [line["patches"] for line in journal(tmp_path / "run")] == [20, 40]


@pytest.mark.parametrize("culprit", ["settings", "scans", "slices"])
def test_a_run_that_cannot_begin_overwrites_nothing(
    sim: Path,
    tmp_path: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    culprit: str,
) -> None:
    fit(sim, tmp_path / "run", settings)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}

    match culprit:
        case "settings":
            settings["train"]["objective"] = "tomographic"
        case "scans":
            (sim / "cohort" / "sub-1" / "anat" / "sub-1_T1w.nii.gz").write_bytes(b"no image")
        case "slices":

            def refuse(*arguments: object) -> None:
                raise TrainingError("nothing to learn from", hint="take another cohort")

            monkeypatch.setattr("mriimpute.methods.patches.learner.PatchLearner.prepare", refuse)
    with pytest.raises((ConfigError, TrainingError, VolumeError)):
        fit(sim, tmp_path / "run", settings, overwrite=True)

    assert {path.name for path in (tmp_path / "run").iterdir()} == before.keys()
    assert all((tmp_path / "run" / name).read_bytes() == before[name] for name in before)


@pytest.mark.parametrize("config", [None, "[tool]\nline = 99\n"], ids=["none", "foreign"])
def test_folder_with_other_files_is_no_run_folder(tmp_path: Path, config: str | None) -> None:
    theirs = {"model.safetensors": "weights", "thesis.txt": "years of work"}
    theirs |= {"config.toml": config} if config else {}
    for name, text in theirs.items():
        (tmp_path / name).write_text(text)

    for overwrite in (False, True):
        with pytest.raises(OutputError, match="exists and is no run folder"):
            RunFolder(tmp_path).open({"name": "ppca", "seed": 0}, overwrite=overwrite)

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == theirs


def test_truth_and_place_of_the_cohort_change_no_byte(
    sim: Path, tmp_path: Path, settings: Settings
) -> None:
    first = fit(sim, tmp_path / "first", settings)
    shutil.rmtree(sim / "truth")
    shutil.move(sim / "cohort", tmp_path / "elsewhere")

    second = fit(tmp_path / "elsewhere", tmp_path / "second", settings)

    assert second.read_bytes() == first.read_bytes()
    assert journal(second.parent) == journal(first.parent)


@pytest.mark.parametrize("culprit", ["loss", "gradient"])
def test_loss_that_is_not_finite_stops_the_run_and_names_step_and_scans(
    sim: Path,
    tmp_path: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    culprit: str,
) -> None:
    def broken(model: Ppca, y: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        exact = (model.mu[0] * 0).sqrt() + 1 if culprit == "gradient" else model.mu[0] / 0 * 0
        return exact.expand(len(y))

    monkeypatch.setattr("mriimpute.methods.patches.objective.negative_log_evidence", broken)

    with pytest.raises(TrainingError, match=r"at step 0, with patches of sub-\d_T1w.nii.gz"):
        fit(sim, tmp_path / "run", settings)


def test_complete_scan_is_no_scan_to_learn_from(
    sim: Path, tmp_path: Path, settings: Settings
) -> None:
    import nibabel as nib

    path = sim / "cohort" / "sub-1" / "anat" / "sub-1_T1w.nii.gz"
    nib.save(
        nib.Nifti1Image(nib.load(path).get_fdata(dtype="float32"), torch.eye(4).numpy()), path
    )

    with pytest.raises(VolumeError, match="nothing to impute"):
        fit(sim, tmp_path / "run", settings)


def test_twenty_steps_give_the_golden_losses(
    sim: Path, tmp_path: Path, settings: Settings
) -> None:
    fit(sim, tmp_path / "run", settings)

    losses = [line["loss"] for line in journal(tmp_path / "run")]
    assert losses == pytest.approx(GOLDEN, rel=1e-4)


GOLDEN = [10.615903854, 4.101065838, 2.520882307, 2.003848230]


def test_a_model_that_cannot_be_built_is_a_wrong_setting(
    sim: Path, tmp_path: Path, settings: Settings
) -> None:
    settings["model"]["sigma"] = -1.0

    with pytest.raises(ConfigError, match="sigma must be above its floor"):
        fit(sim, tmp_path / "run", settings)


def test_a_time_limit_reaches_whoever_shows_progress(
    sim: Path, tmp_path: Path, settings: Settings
) -> None:
    seen: dict[str, float | None] = {}

    def track(
        items: Iterable[Any], *, total: int, label: str, seconds: float | None = None
    ) -> Iterator[Any]:
        seen[label] = seconds
        yield from items

    options: dict[str, Any] = {"seed": 0, "device": "cpu", "track": track}
    train(sim, tmp_path / "free", settings, max_minutes=None, **options)
    free = dict(seen)
    train(sim, tmp_path / "limited", settings, max_minutes=10.0, **options)

    limit = seen["training"]
    assert free == {"reading scans": None, "training": None}
    assert seen["reading scans"] is None
    assert limit is not None
    assert 0 < limit <= 600
