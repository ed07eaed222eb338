"""Tests for mriimpute.training.settings, the presets and mriimpute.training.stop."""

import os
import signal
from typing import Any

import pytest

from mriimpute.checkpoint import restore
from mriimpute.config import dump, merge, parse
from mriimpute.errors import ConfigError
from mriimpute.methods.cross_plane.network import Config, build
from mriimpute.methods.cross_plane.weights import start_of
from mriimpute.methods.patches.config import PatchTrainingConfig, prior_weight
from mriimpute.methods.registry import trainable
from mriimpute.optim.config import learning_rate
from mriimpute.training import preset, resolve
from mriimpute.training.stop import Stop


@pytest.mark.parametrize("name", trainable())
def test_every_model_has_a_preset_that_its_settings_accept(name: str) -> None:
    resolved = resolve(preset(name), seed=3)

    assert resolved["name"] == name
    assert resolved["seed"] == 3
    assert resolve(resolved, seed=3) == resolved


def test_from_scratch_is_a_longer_course_of_the_same_network() -> None:
    tuned, scratch = (
        resolve(preset("cross-plane", from_scratch=f), seed=0) for f in (False, True)
    )

    assert (tuned["train"]["start"], scratch["train"]["start"]) == ("package", "scratch")
    assert scratch["train"]["patches"] > 5 * tuned["train"]["patches"]
    assert scratch["train"]["rate"] > tuned["train"]["rate"]
    assert (scratch["model"], scratch["lines"]) == (tuned["model"], tuned["lines"])


def test_models_without_weights_in_the_package_always_start_from_scratch() -> None:
    assert preset("ppca", from_scratch=True) == preset("ppca")


def test_weights_of_the_package_are_those_of_its_preset() -> None:
    settings = resolve(preset("cross-plane"), seed=0)["model"]

    start = start_of(settings)

    network = build(parse(Config, settings), seed=0)
    restore(network, start.network, where="the package")
    assert all(len(factor) == gap - 1 for gap, factor in start.factors.items())


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"name": "vea"}, "no model is called 'vea'"),
        ({"trian": {}}, "ppca has no setting 'trian'"),
        ({"train": {"ratee": 1}}, "no setting is called 'train.ratee'"),
        ({"train": {"batch": 1}}, "batch must be at least 2"),
        ({"train": {"patches": 0}}, "patches must be at least 1"),
        ({"train": {"rate": 0.0}}, "rate must be above 0"),
        ({"train": {"average": 1.5}}, "average must be in 0 to 1"),
        ({"train": {"weight_decay": -1.0}}, "weight_decay must be at least 0"),
        ({"train": {"objective": "mse"}}, "train.objective must be"),
        ({"train": 3}, "train must be a table"),
        ({"patches": {"foreground": 2.0}}, "foreground must be in 0 to 1"),
        ({"model": {"latentss": 3}}, "no setting is called 'model.latentss'"),
        ({"seed": 4}, "the settings say seed 4, the command 3"),
    ],
)
def test_wrong_setting_is_refused_by_name(overlay: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(merge(preset("ppca"), overlay), seed=3)


def test_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="no model is called 'unet'") as failure:
        preset("unet")

    assert "cross-plane-ridge" in failure.value.hint


def test_closed_form_has_no_training_settings() -> None:
    with pytest.raises(ConfigError, match="cross-plane-ridge has no setting 'train'"):
        resolve(merge(preset("cross-plane-ridge"), {"train": {"rate": 1.0}}), seed=0)
    assert "[train]" not in dump(resolve(preset("cross-plane-ridge"), seed=0))


def test_learning_rate_rises_then_falls_to_its_final_share() -> None:
    config = PatchTrainingConfig(
        patches=1000, batch=10, rate=2.0, final_rate=0.1, rate_warm_up=0.1
    )

    rates = [learning_rate(config, step) for step in range(config.steps)]

    assert max(rates) == rates[9] == 2.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(0.2)


@pytest.mark.parametrize("ends", [(0.15, 0.15), (0.1, 0.12)])
def test_warm_up_that_ends_in_the_step_where_it_begins_is_a_jump(
    ends: tuple[float, float],
) -> None:
    config = PatchTrainingConfig(patches=20, batch=2, warm_up_start=ends[0], warm_up_end=ends[1])
    step = round(10 * ends[0])

    assert [prior_weight(config, n) for n in (step - 1, step)] == [0.0, 1.0]


def test_runs_without_warm_up_start_at_full_weight() -> None:
    config = PatchTrainingConfig(warm_up_end=0.0, rate_warm_up=0.0)

    assert prior_weight(config, 0) == 1.0
    assert learning_rate(config, 0) == config.rate


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_is_a_wish_and_the_second_stops(number: signal.Signals) -> None:
    with Stop(None) as stop:
        before = stop.wanted
        os.kill(os.getpid(), number)
        after = stop.wanted
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)

    assert (before, after) == (False, True)


def test_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT)

    with Stop(1.0) as stop:
        assert not stop.wanted

    assert signal.getsignal(signal.SIGINT) is before
