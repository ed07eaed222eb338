"""Tests for training by two processes: the same steps as one, one journal, nothing lost."""

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from mriimpute.checkpoint import load
from mriimpute.cli import app

from .conftest import COURSE, Begin, Pair, first_checkpoint

WHO = ("one", "two")
SMALL = {"batch": 5, "report": 4, "val_patches": 4, "rate": 0.01, "clip": 1e9}

MODELS: dict[str, dict[str, Any]] = {
    "ppca": {"model.patch": [4, 4, 4], "model.latents": 3, "train.objective": "evidence"},
    # It gathers a mean of all it sees, and draws.
    "conv-mean": {
        "model.patch": [4, 4, 4],
        "model.levels": 1,
        "model.channels": 2,
        "model.latents": 2,
        "train.draws": 2,
    },
    # It draws in four places, once for draws and patches alike.
    "tae": {
        "model.patch": [4, 4, 4],
        "model.hidden": 4,
        "model.prior_hidden": 3,
        "train.draws": 2,
    },
    "cross-plane": {
        "model.channels": 4,
        "model.blocks": 1,
        "model.hidden": 4,
        "lines.gaps": [2, 3],
        "lines.gap_mm": [1.0, 9.0],
        "lines.edge": 12,
        "train.start": "scratch",
    },
}


def words(cohort: Path, run: Path, name: str, **course: object) -> list[object]:
    """What trains a small model; a batch of 5 cannot be halved."""
    settings = MODELS[name] | {f"train.{key}": x for key, x in (SMALL | course).items()}
    chosen = [f"--set={key}={json.dumps(value)}" for key, value in settings.items()]
    return ["train", cohort, "-o", run, f"--model={name}", "--device=cpu", "--seed=3", *chosen]


def alone(command: Sequence[object]) -> None:
    assert CliRunner().invoke(app, [str(word) for word in command]).exit_code == 0


def journal(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    clock = ("seconds", "patches_per_second", "steps_per_second")
    return [{k: v for k, v in line.items() if k not in clock} for line in lines]


def assert_same_run(one: Path, other: Path) -> None:
    for name in ("model.safetensors", "checkpoint.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    assert journal(one) == journal(other)


def gradients(run: Path) -> dict[str, Tensor]:
    """A tenth of them is what the optimiser remembers of the first step, and the only one."""
    tensors, document = load(run / "checkpoint.safetensors", kind="state")
    assert document["state"]["step"] == 1
    return {k: 10 * v for k, v in tensors.items() if k.endswith("exp_avg")}


def both(cohort: Path, place: Path, begin: Begin, names: Sequence[str], patches: int) -> Pair:
    """Trains models with one process and with two, into the folders `one` and `two`."""
    one, two = ([words(cohort, place / n / x, x, patches=patches) for x in names] for n in WHO)
    for folder in WHO:
        (place / folder).mkdir()

    pair = begin(*two)
    for command in one:
        alone(command)

    assert pair.ended() == [0, 0]
    return pair


def test_gradients_are_those_of_one_process_with_the_joint_batch(
    cohort: Path, tmp_path: Path, begin: Begin
) -> None:
    both(cohort, tmp_path, begin, list(MODELS), patches=5)

    for name in MODELS:
        expected, found = (gradients(tmp_path / folder / name) for folder in WHO)
        assert expected.keys() == found.keys()
        for key, gradient in expected.items():
            least = 2e-6 * float(gradient.abs().max())
            torch.testing.assert_close(found[key], gradient, rtol=1e-4, atol=least)


def test_losses_are_those_of_one_process_and_in_one_journal(
    cohort: Path, tmp_path: Path, begin: Begin
) -> None:
    names = ["conv-mean", "cross-plane"]

    pair = both(cohort, tmp_path, begin, names, patches=30)

    for name in names:
        expected, found = (journal(tmp_path / folder / name) for folder in WHO)
        assert len(expected) == len(found) == 6
        for line, other in zip(expected, found, strict=True):
            assert other["loss"] == pytest.approx(line["loss"], rel=1e-5)
        files = {path.name for path in (tmp_path / "two" / name).iterdir()}
        assert files == {path.name for path in (tmp_path / "one" / name).iterdir()}
        assert sorted(files - {"gain.json"}) == [
            "checkpoint.safetensors",
            "config.toml",
            "journal.jsonl",
            "model.safetensors",
        ]
    first, second = pair.said()
    assert first.count("next: mriimpute impute") == len(names)
    assert second == ""


def test_killed_process_ends_the_run_and_the_same_command_loses_nothing(
    cohort: Path, tmp_path: Path, begin: Begin
) -> None:
    whole, parts = (words(cohort, tmp_path / n, "conv-mean", **COURSE) for n in ("whole", "parts"))

    broken = begin(parts)
    checkpoint = first_checkpoint(tmp_path / "parts")
    broken.kill(1)
    statuses = broken.ended()
    step = load(checkpoint, kind="state")[1]["state"]["step"]
    unbroken, mended = begin(whole), begin(parts, store=broken.store)

    assert statuses == [1, -signal.SIGKILL]
    assert "error: another process of this run has ended" in broken.said()[0]
    assert 0 < step < 40
    assert unbroken.ended() == mended.ended() == [0, 0]
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_wish_of_one_process_to_stop_stops_both_and_the_run_goes_on(
    cohort: Path, tmp_path: Path, begin: Begin
) -> None:
    pair = begin(words(cohort, tmp_path / "run", "ppca", **COURSE))
    checkpoint = first_checkpoint(tmp_path / "run")
    pair.interrupt(1)

    assert pair.ended() == [0, 130]
    first, second = pair.said()
    assert "time is up: run the same command to go on" in first
    assert second == ""
    assert load(checkpoint, kind="state")[1]["state"]["step"] < 40


def test_both_end_where_the_one_that_validates_finds_no_more_to_gain(
    cohort: Path, tmp_path: Path, begin: Begin
) -> None:
    """With such a rate nothing is learnt: the second line of the journal is the last one."""
    rows = [f"sub-{path.name[0]}" for path in sorted(cohort.iterdir())]
    for name in rows:
        (cohort / f"{name[-1]}.nii.gz").rename(cohort / f"{name}_T1w.nii.gz")
    table = [f"{name}\t{part}" for name, part in zip(rows, ("train", "train", "val"), strict=True)]
    (cohort / "participants.tsv").write_text("\n".join(["participant_id\tsplit", *table]))
    course = {"patches": 400, "rate": 1e-30, "patience": 1, "warm_up_end": 0.01, "report": 20}

    pair = begin(
        [*words(cohort, tmp_path / "run", "conv-mean", **course), "--set=model.patch=[8,8]"]
    )

    assert pair.ended() == [0, 0]
    lines = journal(tmp_path / "run")
    assert [line["patches"] for line in lines] == [20, 40]
    assert lines[0]["val_gain_db"] == lines[1]["val_gain_db"]
    assert "validation finds no more to gain" in pair.said()[0]
    assert pair.said()[1] == ""


def test_what_is_wrong_is_said_once(cohort: Path, tmp_path: Path, begin: Begin) -> None:
    too_small = begin(words(cohort, tmp_path / "run", "ppca", batch=3))
    elsewhere = begin(["inspect", cohort])

    assert too_small.ended() == elsewhere.ended() == [1, 1]
    assert "train.batch is 3, too small for 2 processes" in too_small.said()[0]
    assert "inspect is the work of one process, not of 2" in elsewhere.said()[0]
    assert too_small.said()[1] == elsewhere.said()[1] == ""
    assert not (tmp_path / "run").exists()


def test_models_that_are_not_fitted_by_gradients_are_fitted_by_the_main_process(
    cohort: Path, tmp_path: Path, begin: Begin
) -> None:
    em = ["--model=ppca-em", "--set=model.patch=[4,4,4]", "--set=model.latents=3"]
    commands = {
        "em": [*em, "--set=train.patches=64", "--set=train.iterations=2"],
        "ridge": ["--model=cross-plane-ridge"],
    }

    pair = begin(
        *(["train", cohort, "-o", tmp_path / f"two-{n}", *c] for n, c in commands.items())
    )
    for name, chosen in commands.items():
        alone(["train", cohort, "-o", tmp_path / f"one-{name}", *chosen])

    assert pair.ended() == [0, 0]
    for name in commands:
        one, two = (tmp_path / f"{n}-{name}" / "model.safetensors" for n in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
