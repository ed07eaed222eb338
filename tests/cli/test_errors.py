"""What a user sees who passes something that is not a scan, whatever the command."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mriimpute.cli import app


@pytest.mark.parametrize("name", ["inspect", "impute", "train"])
def test_a_broken_scan_is_two_lines_on_stderr_and_status_1(
    name: str, broken: Path, tmp_path: Path
) -> None:
    out = [] if name == "inspect" else ["-o", str(tmp_path / "out")]

    result = CliRunner().invoke(app, [name, str(broken), *out, "--device", "cpu"])

    assert result.exit_code == 1
    assert result.stdout == ""
    problem, hint = result.stderr.splitlines()
    assert problem.startswith("error: ")
    assert broken.name in problem
    assert "unexpected" not in problem
    assert hint.startswith("hint: ")
    assert not list(tmp_path.glob("out/**/*.nii*"))
