"""Tests for `mriimpute demo`: its stages are replaced, each is tested elsewhere."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mriimpute.cli import app
from mriimpute.cli.run import Run
from mriimpute.demo import STAGES


class Stages:
    """Stand in for the stages of the demo and write down when they are called.

    Attributes:
        called: Stages, in the order of their calls.
        stop_in: The stage in which Ctrl-C is pressed.
        started: When each of those began that are commands of their own.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.called: list[str] = []
        self.started: list[float] = []
        self.stop_in = ""
        monkeypatch.setattr("mriimpute.demo.make_cohort", self._stage("make"))
        for name in ("simulate", "train", "impute", "evaluate"):
            monkeypatch.setattr(f"mriimpute.cli.demo._{name}", self._stage(name))

    def _stage(self, name: str):  # noqa: ANN202
        def run(*given: object, **__: object) -> None:
            self.called.append(name)
            if isinstance(given[0], Run):
                self.started.append(given[0].started)
            if name == self.stop_in:
                raise KeyboardInterrupt

        return run


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    return Stages(monkeypatch)


def call(folder: Path, *words: object) -> Result:
    return CliRunner().invoke(app, ["demo", "-o", str(folder), *map(str, words)])


@pytest.mark.parametrize("stage", STAGES)
def test_same_command_goes_on_where_ctrl_c_stopped_it(
    tmp_path: Path, stages: Stages, stage: str
) -> None:
    stages.stop_in = stage
    stopped = call(tmp_path / "demo")
    stages.called, stages.stop_in = [], ""

    again = call(tmp_path / "demo")

    assert (stopped.exit_code, again.exit_code) == (130, 0), again.stderr
    assert stages.called == list(STAGES)[list(STAGES).index(stage) :]


def test_the_clock_of_a_stage_starts_with_it(tmp_path: Path, stages: Stages) -> None:
    call(tmp_path / "demo")

    assert len(set(stages.started)) == 4
    assert stages.started == sorted(stages.started)


def test_finished_demo_is_not_replaced(tmp_path: Path, stages: Stages) -> None:
    call(tmp_path / "demo")
    stages.called = []

    again = call(tmp_path / "demo")

    assert again.exit_code == 1
    assert "holds a finished demo" in again.stderr
    assert "--overwrite" in again.stderr
    assert stages.called == []


def test_overwriting_begins_anew(tmp_path: Path, stages: Stages) -> None:
    call(tmp_path / "demo")
    stages.called = []
    for folder in STAGES.values():
        (tmp_path / "demo" / folder).mkdir()

    again = call(tmp_path / "demo", "--overwrite", "--seed", 1)

    assert again.exit_code == 0, again.stderr
    assert stages.called == list(STAGES)
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["demo.json"]
    record = json.loads((tmp_path / "demo" / "demo.json").read_text())
    assert record["settings"]["seed"] == 1


def test_demo_does_not_go_on_with_another_seed(tmp_path: Path, stages: Stages) -> None:
    stages.stop_in = "train"
    call(tmp_path / "demo")

    again = call(tmp_path / "demo", "--seed", 1)

    assert again.exit_code == 1
    assert "was begun with" in again.stderr


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_folder_with_something_else_is_not_touched(
    tmp_path: Path, stages: Stages, options: list[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")

    result = call(tmp_path, *options)

    assert result.exit_code == 1
    assert "--overwrite" not in result.stderr  # it would not help
    assert stages.called == []
    assert (tmp_path / "run" / "thesis.txt").exists()
