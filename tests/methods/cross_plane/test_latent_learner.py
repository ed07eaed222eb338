"""Tests for the model `cross-plane-latent`: trained, resumed, and what its file imputes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mriimpute.checkpoint import load
from mriimpute.config import merge
from mriimpute.errors import ConfigError
from mriimpute.methods.cross_plane.latent_network import network_of
from mriimpute.methods.cross_plane.validation import GapScore
from mriimpute.methods.cross_plane.weights import Start, adopt, better_weights
from mriimpute.methods.registry import load_imputer
from mriimpute.progress import silent
from mriimpute.training import train
from mriimpute.volume import Volume

Package = Callable[..., Path]

SETTINGS: dict[str, Any] = {
    "name": "cross-plane-latent",
    "model": {"channels": 4, "blocks": 1, "hidden": 4, "latents": 2},
    "lines": {"gaps": [2, 3], "gap_mm": [1.0, 9.0], "edge": 12},
    "train": {"patches": 48, "batch": 4, "rate": 0.02, "report": 16, "val_patches": 2},
}


def fit(sim: Path, run: Path, **changes: Any) -> Path:
    chosen = merge(SETTINGS, changes)
    return train(sim, run, chosen, seed=0, device="cpu", max_minutes=None, track=silent)


def parameters(model: Path) -> dict[str, Any]:
    tensors = load(model)[0]
    return {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}


def journal(model: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (model.parent / "journal.jsonl").read_text().splitlines()]


def test_errors_are_explained_next_to_moments_that_stay_those_of_the_package(
    sim: Path, tmp_path: Path, package: Package
) -> None:
    plain = parameters(package())

    model = fit(sim, tmp_path / "run")

    start, *_, end = journal(model)
    assert end["val_nats"]["3"] < start["val_nats"]["3"] - 0.1
    assert end["val_gain_db"] == start["val_gain_db"]
    ours = parameters(model)
    assert all(ours[name].equal(tensor) for name, tensor in plain.items())
    assert ours["gain.last.weight"].any()


def test_first_line_of_the_journal_is_about_the_plain_network(
    sim: Path, tmp_path: Path, package: Package
) -> None:
    package()
    changes = {"train": {"patches": 4, "report": 4}}

    ours = fit(sim, tmp_path / "latent", **changes)
    model = {key: size for key, size in SETTINGS["model"].items() if key != "latents"}
    chosen = {**merge(SETTINGS, changes), "name": "cross-plane", "model": model}
    theirs = train(
        sim, tmp_path / "plain", chosen, seed=0, device="cpu", max_minutes=None, track=silent
    )

    (ours_first, *_), (theirs_first, *_) = journal(ours), journal(theirs)
    assert ours_first["val_nats"] == pytest.approx(theirs_first["val_nats"], abs=1e-3)


@pytest.mark.parametrize(("nats", "speak"), [(-2.1, True), (-1.9, False), (np.nan, False)])
def test_latent_numbers_that_explain_nothing_are_left_out(
    nats: float, speak: bool, package: Package
) -> None:
    plain = parameters(package())
    network = network_of(SETTINGS["name"], SETTINGS["model"], seed=0)
    start = adopt(network, Start(plain, {}, "sha256:0"))
    before, after = ({3: GapScore(1.0, (1.0, 1.0), 0.9, n)} for n in (-2.0, nats))

    ours = better_weights(network, after, start, before, [3])

    assert all(ours[f"network.{name}"].equal(tensor) for name, tensor in plain.items())
    assert bool(ours["network.gain.last.weight"].any()) == speak


@pytest.mark.parametrize("start", ["package", "scratch"])
def test_stopped_run_ends_with_the_bytes_of_one_that_never_stopped(
    start: str,
    sim: Path,
    tmp_path: Path,
    stop_after: Callable[[int], None],
    package: Package,
) -> None:
    package()
    whole = fit(sim, tmp_path / "whole", train={"start": start})

    stop_after(6)
    with pytest.raises(KeyboardInterrupt):
        fit(sim, tmp_path / "parts", train={"start": start})
    stop_after(1000)
    parts = fit(sim, tmp_path / "parts", train={"start": start})

    assert parts.read_bytes() == whole.read_bytes()


def test_from_scratch_the_mean_learns_too(sim: Path, tmp_path: Path, package: Package) -> None:
    package().write_text("whoever opens this fails")

    short, long = (
        parameters(fit(sim, tmp_path / str(n), train={"start": "scratch", "patches": n}))
        for n in (4, 48)
    )

    assert not short["mean.last.weight"].equal(long["mean.last.weight"])


def test_its_file_imputes(
    sim: Path, tmp_path: Path, package: Package, rng: np.random.Generator
) -> None:
    package()
    data = rng.random((14, 13, 10)).astype(np.float32)
    observed = np.zeros(data.shape, bool)
    observed[..., ::3] = True
    volume = Volume(np.where(observed, data, np.float32(np.nan)), observed, np.eye(4))

    imputer = load_imputer(str(fit(sim, tmp_path / "run").parent), device="cpu")
    imputed = imputer.impute(volume, seed=0, case="a")

    assert imputer.name == "cross-plane-latent"
    assert imputed.std is not None
    assert imputed.draw is not None
    assert np.array_equal(imputed.mean[observed], data[observed])
    assert (imputed.std[~observed] > 0).all()
    assert np.isfinite(imputed.draw(1)).all()


def test_it_does_not_adapt(sim: Path, tmp_path: Path, package: Package) -> None:
    package()
    model = fit(sim, tmp_path / "run", train={"patches": 4})

    with pytest.raises(ConfigError, match="cross-plane-latent cannot adapt"):
        load_imputer(str(model), device="cpu", adapt=True)
