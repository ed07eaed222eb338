"""Tests for mriimpute.methods.patches.learner: noise that is measured, voxels that are hidden."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from mriimpute.checkpoint import load, save
from mriimpute.cohort import noise_level, read_sparse
from mriimpute.methods.patches import models
from mriimpute.methods.patches.config import PatchTrainingConfig
from mriimpute.methods.patches.gain import gain_of
from mriimpute.methods.patches.learner import PatchLearner
from mriimpute.methods.registry import load_imputer
from mriimpute.progress import silent
from mriimpute.training import train

MODELS: dict[str, dict[str, Any]] = {
    "conv-sparse": {"patch": [8, 8], "levels": 1, "channels": 3, "latents": 2},
    "conv-mean": {"patch": [8, 8], "levels": 1, "channels": 3, "latents": 2},
    "conv-fc-sparse": {"patch": [8, 8], "levels": 1, "channels": 3, "latents": 2},
    "local-sparse": {"patch": [8, 8], "levels": 1, "channels": 3, "latents": 2},
    "mvae": {"patch": [6, 8], "hidden": 5, "latents": 3, "floor": 0.001},
    "miwae": {"patch": [6, 8], "hidden": 5, "latents": 3, "floor": 0.001},
    "tae": {"patch": [6, 8], "hidden": 5, "latents": 3, "floor": 0.001},
}
OBJECTIVES = {"miwae": "importance", "tae": "tomographic"}
every_model = pytest.mark.parametrize("name", MODELS)


def fit(name: str, sim: Path, run: Path, **changes: Any) -> Path:
    course = {
        "objective": OBJECTIVES.get(name, "elbo"),
        "patches": 24,
        "batch": 4,
        "rate": 0.02,
        "report": 8,
        "val_patches": 8,
        "draws": 2,
    }
    settings = {"name": name, "model": MODELS[name], "train": course | changes}
    return train(sim, run, settings, seed=0, device="cpu", max_minutes=None, track=silent)


def journal_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]


def measured(sim: Path) -> float:
    scans = sorted((sim / "cohort").rglob("sub-[01]_T1w.nii.gz"))
    return noise_level([read_sparse(path) for path in scans])


def stored(path: Path, name: str) -> models.Model:
    """The model in a file, and not what it starts as."""
    model = models.build(name, MODELS[name], seed=1)
    model.load_state_dict(load(path)[0])
    return model


@every_model
def test_noise_is_that_of_the_scans_and_stays(name: str, sim: Path, tmp_path: Path) -> None:
    path = fit(name, sim, tmp_path / "run")

    lines = journal_of(tmp_path / "run")
    assert [line["sigma"] for line in lines] == pytest.approx([measured(sim)] * 3, rel=0.03)
    model = stored(path, name)
    y = torch.zeros(2, 1, *model.patch)
    scale = model.likelihood(model.posterior(y, y == 0).loc[None]).scale.detach()
    if name != "tae":  # whose q2 has a spread of its own
        assert scale.numpy() == pytest.approx(measured(sim), rel=1e-3)


def test_noise_may_be_given_or_learnt(sim: Path, tmp_path: Path) -> None:
    given, learnt = (tmp_path / noise for noise in ("given", "learnt"))

    for run in (given, learnt):
        fit("conv-sparse", sim, run, noise=run.name)

    assert [line["sigma"] for line in journal_of(given)] == pytest.approx([0.05] * 3)
    first, *_, last = (line["sigma"] for line in journal_of(learnt))
    assert abs(last - 0.05) > abs(first - 0.05) > 0


@every_model
def test_stopped_run_ends_with_the_bytes_of_one_that_never_stopped(
    name: str, sim: Path, tmp_path: Path, stop_after: Callable[[int], None]
) -> None:
    whole = fit(name, sim, tmp_path / "whole")

    stop_after(3)
    with pytest.raises(KeyboardInterrupt):
        fit(name, sim, tmp_path / "parts")
    stop_after(1000)
    parts = fit(name, sim, tmp_path / "parts")

    assert parts.read_bytes() == whole.read_bytes()


def test_gain_over_interpolation_is_that_of_hidden_lines(sim: Path, tmp_path: Path) -> None:
    fit("conv-sparse", sim, tmp_path / "run")

    gains = [line["val_gain_db"] for line in journal_of(tmp_path / "run")]
    assert all(np.isfinite(gains))
    note = json.loads((tmp_path / "run" / "gain.json").read_text())
    assert note["over_interpolation_db"] == max(gains)
    assert note["is_gain"] == (max(gains) > 0)


def test_weights_that_gained_most_are_kept_over_a_stop() -> None:
    one, other = learner("conv-sparse"), learner("conv-sparse")
    first = {name: tensor.clone() for name, tensor in one.model().items()}

    one._keep_best(-0.1)
    with torch.no_grad():
        one.state.average.decoder.last.bias.add_(1.0)  # type: ignore[union-attr, operator]
    one._keep_best(-0.2)
    other.load(one.tensors(), one.numbers(), Path("a checkpoint"))
    other._keep_best(-0.15)

    for kept in (one.model(), other.model()):
        assert all(torch.equal(kept[name], first[name]) for name in first)
    other._keep_best(0.3)
    assert not torch.equal(other.model()["decoder.last.bias"], first["decoder.last.bias"])


def test_run_ends_where_no_more_is_gained_and_stays_ended(
    sim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gains = iter([0.1, 0.3, 0.2, 0.3, 0.4, 0.2])
    found = ({"val_loss": 1.0, "val_gain_db": gain} for gain in gains)
    monkeypatch.setattr(PatchLearner, "_validated", lambda _: next(found))
    course = {"patience": 2, "report": 4, "warm_up_end": 0.3, "patches": 40}

    path = fit("conv-sparse", sim, tmp_path / "run", **course)

    lines = journal_of(tmp_path / "run")
    assert [line["val_gain_db"] for line in lines] == [0.1, 0.3, 0.2, 0.3]
    note, before = json.loads((tmp_path / "run" / "gain.json").read_text()), path.read_bytes()
    assert note["finished"] is True
    assert fit("conv-sparse", sim, tmp_path / "run", **course).read_bytes() == before
    assert journal_of(tmp_path / "run") == lines


def test_a_run_is_patient_before_the_prior_has_its_whole_weight() -> None:
    one = learner("conv-sparse", patience=1, warm_up_start=0.0, warm_up_end=1.0)

    for done, gain in ((1, 0.3), (1, 0.2), (2, 0.1)):
        assert not one.settled
        one.done = done
        one._keep_best(gain)

    assert one.settled


def learner(name: str, **changes: Any) -> PatchLearner:
    config = PatchTrainingConfig(batch=4, patches=8, **changes)
    return PatchLearner(name, model=MODELS[name], train=config, seed=0, device="cpu")


def test_rows_of_a_process_are_shown_what_they_are_in_the_whole_batch(sim: Path) -> None:
    one = learner("conv-sparse")
    scans = [read_sparse(path) for path in sorted((sim / "cohort").rglob("sub-[01]_T1w.nii.gz"))]

    whole, part = (one._drawn(scans, "patches", 3, rows) for rows in (slice(None), slice(1, 3)))

    assert whole.shown is not None
    assert part.shown is not None
    assert_array_equal(part.shown, whole.shown[1:3])
    assert (whole.shown != whole.observed).any()


def test_an_exact_posterior_hides_nothing(sim: Path) -> None:
    config = PatchTrainingConfig(batch=4, patches=8, objective="evidence")
    model = {"patch": [4, 4], "latents": 2}
    one = PatchLearner("ppca", model=model, train=config, seed=0, device="cpu")
    scans = [read_sparse(path) for path in sorted((sim / "cohort").rglob("sub-[01]_T1w.nii.gz"))]

    assert one._drawn(scans, "patches", 0, slice(None)).shown is None


def test_model_of_a_run_before_anything_was_hidden_still_loads(sim: Path, tmp_path: Path) -> None:
    tensors, document = load(fit("conv-sparse", sim, tmp_path / "run", noise="learnt"))
    old = {key: value for key, value in document.items() if key != "hidden"}
    old["train"] = {key: value for key, value in document["train"].items() if key != "noise"}
    save(tmp_path / "old.safetensors", tensors, old)

    assert load_imputer(str(tmp_path / "old.safetensors"), device="cpu").name == "conv-sparse"


def test_one_report_alone_is_no_loss_and_no_gain() -> None:
    assert gain_of([{"val_loss": 2.0}]) is None
    one_with_lines = gain_of([{"val_loss": 2.0, "val_gain_db": 0.2}])
    assert one_with_lines is not None
    assert one_with_lines.is_gain


def test_gain_is_told_in_decibels_where_lines_were_hidden() -> None:
    gain = gain_of([{"val_loss": 2.0, "val_gain_db": -0.4}, {"val_loss": 1.5, "val_gain_db": 0.3}])
    less = gain_of([{"val_loss": 2.0, "val_gain_db": -0.4}])

    assert gain is not None
    assert less is not None
    assert "+0.30 dB over linear interpolation" in gain.words
    assert gain.is_gain
    assert not less.is_gain
