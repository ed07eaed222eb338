"""Tests for mriimpute.methods.patches.em_learner."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mriimpute.errors import ConfigError
from mriimpute.methods.registry import load_imputer
from mriimpute.progress import silent
from mriimpute.seeds import numpy_stream
from mriimpute.training import preset, train
from mriimpute.volume import Volume

MODEL: dict[str, dict[str, Any]] = {
    "ppca-em": {"patch": [4, 4, 4], "latents": 3},
    "mixture-ppca": {"patch": [4, 4, 4], "latents": 3, "components": 2},
}
every_kind = pytest.mark.parametrize("name", MODEL)


def fit(name: str, sim: Path, run: Path, **changes: Any) -> Path:
    course = {"patches": 90, "batch": 32, "iterations": 4, "kappa": 0.1, "val_patches": 20}
    chosen = {**preset(name), "model": MODEL[name], "train": course | changes}
    return train(sim, run, chosen, seed=0, device="cpu", max_minutes=None, track=silent)


def journal_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]


@every_kind
def test_stopped_run_ends_with_the_bytes_of_one_that_never_stopped(
    name: str, sim: Path, tmp_path: Path, stop_after: Callable[[int], None]
) -> None:
    whole = fit(name, sim, tmp_path / "whole")

    stop_after(3)
    with pytest.raises(KeyboardInterrupt):
        fit(name, sim, tmp_path / "parts")
    first = journal_of(tmp_path / "parts")
    parts = fit(name, sim, tmp_path / "parts")

    assert len(first) == 3
    assert parts.read_bytes() == whole.read_bytes()
    assert [line["iteration"] for line in journal_of(tmp_path / "parts")] == [1, 2, 3, 4]


@every_kind
def test_each_iteration_explains_its_patches_better(name: str, sim: Path, tmp_path: Path) -> None:
    fit(name, sim, tmp_path / "run", kappa=0.0)

    losses = [line["loss_before"] for line in journal_of(tmp_path / "run")]
    assert losses == sorted(losses, reverse=True)
    assert all(np.isfinite(line["val_loss"]) for line in journal_of(tmp_path / "run"))


@every_kind
def test_what_was_learnt_imputes_with_draws_that_spread_as_far_as_it_says(
    name: str, sim: Path, tmp_path: Path
) -> None:
    imputer = load_imputer(str(fit(name, sim, tmp_path / "run").parent), device="cpu")
    data = 400 * numpy_stream(0, "scan").random((8, 8, 7)).astype(np.float32)
    observed = np.zeros(data.shape, bool)
    observed[..., ::3] = True
    volume = Volume(np.where(observed, data, np.float32(np.nan)), observed, np.eye(4))

    imputed = imputer.impute(volume, seed=0, case="case")

    assert imputed.draw is not None and imputed.std is not None  # noqa: PT018
    np.testing.assert_array_equal(imputed.mean[observed], volume.data[observed])
    draws = np.stack([imputed.draw(n) for n in range(1, 61)])
    ratio = draws.std(axis=0)[~observed].mean() / imputed.std[~observed].mean()
    assert 0.85 < ratio < 1.15


def test_finished_run_is_left_alone(
    sim: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit("ppca-em", sim, tmp_path / "run")

    with caplog.at_level("INFO"):
        fit("ppca-em", sim, tmp_path / "run")

    assert "is finished: 4 iterations" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"iterations": 0}, "iterations must be at least 1"), ({"kappa": -1.0}, "at least 0")],
)
def test_impossible_course_is_refused(
    sim: Path, tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        fit("ppca-em", sim, tmp_path / "run", **wrong)
