"""Tests for what the shell completes."""

import os
import subprocess
import sys

import pytest
from typer.main import get_command

from mriimpute.cli import app, complete

CODE = """
import sys
from mriimpute.cli import app
try:
    app(prog_name="mriimpute")
except SystemExit:
    pass
loaded = [name for name in ("torch", "numpy", "nibabel", "scipy") if name in sys.modules]
assert not loaded, loaded
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mriimpute impute --model cross", ["cross-plane", "cross-plane-ridge"]),
        ("mriimpute train --model conv-int", ["conv-interp", "conv-interp-wmask"]),
        ("mriimpute reproduce fig", ["fig4", "fig5"]),
        ("mriimpute inspect --device c", ["cpu", "cuda"]),
        ("mriimpute evaluate --methods linear,pc", ["linear,pchip"]),
    ],
)
def test_the_shell_is_given_names_and_nothing_is_loaded(line: str, expected: list[str]) -> None:
    environment = os.environ | {
        "_MRIIMPUTE_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split()) - 1),
    }

    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", CODE], check=True, capture_output=True, text=True, env=environment
    )

    assert done.stdout.split()[: len(expected)] == expected


def test_what_is_completed_is_what_is_taken() -> None:
    from mriimpute.methods.registry import trainable, without_weights
    from mriimpute.papers import available

    assert {name for name, _ in complete.trained_models("")} == set(trainable())
    assert {name for name, _ in complete.imputing_models("")} == {
        "cross-plane",
        *without_weights(),
    }
    assert [name for name, _ in complete.experiments("")] == available()
    assert [name for name, _ in complete.methods("linear,pchip,li")] == []


def test_every_choice_of_names_is_completed() -> None:
    completed = {
        (name, parameter.name)
        for name, command in get_command(app).commands.items()
        for parameter in command.params
        if parameter._custom_shell_complete is not None
    }

    wanted = {("impute", "model"), ("train", "model"), ("evaluate", "methods"), ("bench", "model")}
    assert wanted | {("reproduce", "experiment")} <= completed
    assert {name for name, parameter in completed if parameter == "device"} == set(
        get_command(app).commands
    )
