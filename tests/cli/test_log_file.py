"""Tests for `--log-file`."""

import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mriimpute.cli import app
from mriimpute.cli.log_file import kept_log

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d "


def run(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


def lines_of(path: Path) -> list[str]:
    lines = path.read_text().splitlines()
    assert all(re.match(STAMP, line) for line in lines), lines
    return [re.sub(STAMP, "", line) for line in lines]


@pytest.mark.parametrize("loudness", ["-q", "-v", "--no-progress"])
def test_it_holds_results_steps_and_the_end_whatever_is_shown(
    loudness: str, thick: Path, tmp_path: Path
) -> None:
    log = tmp_path / "run.log"

    result = run("impute", thick, "--model", "linear", loudness, "--log-file", log)

    assert result.exit_code == 0, result.stderr
    lines = lines_of(log)
    assert lines[0].startswith("mriimpute ")
    assert f"impute {thick}" in lines[0]
    assert lines.count(result.stdout.strip()) == 1
    assert sum(line.startswith("thick.nii.gz: ") and "acquired" in line for line in lines) == 1
    assert re.fullmatch(r"ended after \d+\.\d s, status 0", lines[-1])


def test_it_holds_the_traceback_of_an_error(tmp_path: Path) -> None:
    log = tmp_path / "run.log"

    result = run("inspect", tmp_path / "none.nii", "--log-file", log)

    lines = lines_of(log)
    assert "Traceback" not in result.stderr
    assert "Traceback (most recent call last):" in lines
    assert lines[-3:-1] == result.stderr.splitlines()
    assert lines[-1].endswith("status 1")


@pytest.mark.parametrize("command", ["impute", "inspect"])
def test_it_holds_the_traceback_of_each_scan_that_fails(
    command: str, thick: Path, tmp_path: Path
) -> None:
    """The others go on, so no error ends the command."""
    for name in "ab":
        (thick.parent / f"{name}.nii.gz").write_bytes(b"damaged")
    thick.unlink()
    log, options = tmp_path / "run.log", ["--model", "linear"] if command == "impute" else []

    result = run(command, thick.parent, *options, "--log-file", log)

    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    lines = lines_of(log)
    problems = [line for line in lines if line.startswith("error: ")]
    assert len(problems) == 2
    assert lines.count("Traceback (most recent call last):") >= 2
    for problem in problems:  # the traceback stands before it
        assert lines[lines.index(problem) - 1].startswith("mriimpute.errors.VolumeError: ")


def test_a_wrong_command_line_is_no_bug(thick: Path, tmp_path: Path) -> None:
    log = tmp_path / "run.log"

    result = run("evaluate", thick, thick, "--log-file", log)

    lines = lines_of(log)
    assert result.exit_code == 2
    assert lines[-1].endswith("status 2")
    assert lines[-2].startswith("error: ")
    assert lines[-2].split()[1] in result.stderr
    assert not any("bug" in line or "Traceback" in line for line in lines)


def test_runs_are_added_and_nothing_else_is_written_over(thick: Path, tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    for _ in range(2):
        run("inspect", thick, "--log-file", log)
    before = thick.read_bytes()

    result = run("inspect", thick, "--log-file", thick)

    assert sum(line.startswith("ended") for line in lines_of(log)) == 2
    assert result.exit_code == 1
    assert "is no log" in result.stderr
    assert thick.read_bytes() == before


def test_a_folder_that_is_not_there_is_two_lines(thick: Path, tmp_path: Path) -> None:
    result = run("inspect", thick, "--log-file", tmp_path / "none" / "run.log")

    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk here")
def test_a_full_disk_is_one_warning(
    thick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.log").symlink_to("/dev/full")
    monkeypatch.setattr("mriimpute.cli.log_file._is_log", lambda path: True)

    result = run("inspect", thick, "--log-file", tmp_path / "run.log")

    assert result.exit_code == 0
    assert result.stderr.count("is not complete: No space left") == 1


def test_a_bar_is_no_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with kept_log(tmp_path / "log", ["x"], lambda error: ("", "")):
        print("\x1b[2Kscans ━━━╸ 1/2\n\r\x1b[2K\x1b[31mfailed\x1b[0m: a\nscans ━━━━ 2/2")  # noqa: T201

    assert lines_of(tmp_path / "log")[1:-1] == ["failed: a"]
    assert "━" in capsys.readouterr().out


def test_the_last_line_is_kept_and_no_line_commands_a_terminal(tmp_path: Path) -> None:
    with kept_log(tmp_path / "run.log", ["mriimpute", "\x1b]0;x\x07"], lambda e: (str(e), "")):
        print("a\x1b[31mb\x1b]0;y\x07")  # noqa: T201
        sys.stdout.write("no newline")

    text = (tmp_path / "run.log").read_text()
    assert not re.search("[\x1b\x07]", text)
    assert lines_of(tmp_path / "run.log")[1:3] == ["ab?]0;y?", "no newline"]


@pytest.mark.parametrize(("code", "status"), [(3, 3), (None, 0), ("text", 1)])
def test_the_status_of_an_exit_is_told(
    code: int | str | None, status: int, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit), kept_log(tmp_path / "l", ["x"], lambda e: (str(e), "")):
        sys.exit(code)

    assert lines_of(tmp_path / "l")[-1].endswith(f"status {status}")


def test_a_stop_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), kept_log(tmp_path / "log", ["x"], lambda e: ("", "")):
        raise KeyboardInterrupt

    assert lines_of(tmp_path / "log")[-1].endswith("status 130: interrupted")
