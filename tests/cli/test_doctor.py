"""Tests for `mriimpute doctor`."""

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mriimpute import __version__
from mriimpute.cli import app
from mriimpute.doctor.check import at_most


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *words])


@pytest.fixture
def broken_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch that no process survives to import."""
    (tmp_path / "torch.py").write_text("import os\nos._exit(3)")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("quick_processes")
def test_a_sound_machine_passes_and_says_what_it_is() -> None:
    result = run("--json", "--device", "cpu", "--self-test")

    found = json.loads(result.stdout)
    assert (result.exit_code, result.stderr, found["ok"]) == (0, "", True)
    assert found["versions"]["mriimpute"] == __version__
    assert found["accelerator"]["devices"] == [] or found["accelerator"]["torch_cuda"]
    assert {check["verdict"] for check in found["checks"]} <= {"ok", "warn", "skipped"}
    names = [check["name"] for check in found["checks"]]
    assert len(names) == len(set(names))
    assert {"weights", "template", "convolution 3D, rows, cpu", "phantom, cpu"} <= set(names)


@pytest.mark.usefixtures("broken_torch")
def test_a_failed_check_is_told_and_status_1() -> None:
    result = run("--self-test")

    assert result.exit_code == 1
    assert result.stdout.startswith("versions")
    assert "ended with status 3" in result.stdout
    assert result.stderr.splitlines()[-1] == "failed: 1 of 5: self-test"


@pytest.mark.usefixtures("broken_torch")
def test_without_the_self_test_no_torch_is_needed() -> None:
    result = run("--json")

    found = json.loads(result.stdout)
    assert (result.exit_code, result.stderr, found["ok"]) == (0, "", True)
    assert found["checks"][0]["name"] == "GPU"
    assert "--self-test" in run().stderr


@pytest.mark.usefixtures("broken_torch")
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    shown = run("--self-test").stdout

    assert max(map(len, shown.splitlines())) <= columns
    assert "ended with status 3" in " ".join(shown.split())
    assert "\u2026" not in shown


def test_json_holds_no_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = [at_most("sum", value, 1.0) for value in (math.nan, math.inf)]
    monkeypatch.setattr("mriimpute.doctor.self_test", lambda device: iter(wrong))

    result = run("--json", "--self-test")

    *_, first, second = json.loads(result.stdout)["checks"]
    assert result.exit_code == 1
    assert [(c["verdict"], c["measured"], c["note"]) for c in (first, second)] == [
        ("fail", None, "nan was computed"), ("fail", None, "inf was computed"),
    ]  # fmt: skip


@pytest.mark.usefixtures("broken_torch")
def test_json_is_one_object_even_when_checks_fail() -> None:
    result = run("--json", "--self-test")

    assert result.exit_code == 1
    assert json.loads(result.stdout)["ok"] is False
