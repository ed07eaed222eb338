"""Tests for mriimpute.cli.streams: whoever listens, the work is the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

SLOW = pytest.mark.slow  # the same by `steady_streams` alone: next test

pytestmark = pytest.mark.skipif(os.name != "posix", reason="closes streams as a shell does")


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    (tmp_path / "in").mkdir()
    for name in "abc":
        data = rng.integers(0, 900, (6, 5, 4)).astype(np.int16)
        image = nib.Nifti1Image(data, np.diag([1.0, 1.0, 6.0, 1.0]))
        image.to_filename(tmp_path / "in" / f"{name}.nii")
    return tmp_path


def shell(folder: Path, line: str) -> tuple[int, str, str]:
    """Runs a line of a shell, in which $M is the program and $IMPUTE imputes the folder."""
    program = f"{sys.executable} -m mriimpute"
    impute = f"{program} impute in -o out --model linear --report r.json --no-progress"
    done = subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", line],
        cwd=folder,
        env={**os.environ, "M": program, "IMPUTE": impute, "WRITE": f"{sys.executable} write.py"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "{ $IMPUTE; echo $? >status; } | sleep 0",
        pytest.param("{ $IMPUTE 2>&1 >out.txt; echo $? >status; } | sleep 0", marks=SLOW),
        pytest.param("$IMPUTE 2>&-; echo $? >status", marks=SLOW),
        pytest.param("$IMPUTE >&-; echo $? >status", marks=SLOW),
        pytest.param("$IMPUTE <&- >&- 2>&-; echo $? >status", marks=SLOW),
    ],
)
def test_all_scans_are_imputed_whoever_listens(line: str, folder: Path) -> None:
    shell(folder, line)

    assert (folder / "status").read_text() == "0\n"
    counts = json.loads((folder / "r.json").read_text())["counts"]
    assert counts == {"done": 3, "skipped": 0, "failed": 0, "waiting": 0}
    assert len(list((folder / "out").glob("*desc-mean.nii"))) == 3


WRITE = """
import contextlib, os, sys
from mriimpute.cli.streams import lost_output, steady_streams

steady_streams()
with open("written", "w") as file:
    for number in range(9999):  # more than a pipe holds
        print("who listens?")
        print("who listens?", file=sys.stderr)
        file.write(f"{number} ")
    for number in (1, 2):
        with contextlib.suppress(BrokenPipeError):
            os.write(number, b"as a library does")
sys.exit(lost_output() is not None)
"""


@pytest.mark.parametrize(
    "line",
    [
        "{ $WRITE; echo $? >status; } | sleep 0",
        "{ $WRITE 2>&1 >out.txt; echo $? >status; } | sleep 0",
        "$WRITE 2>&-; echo $? >status",
        "$WRITE >&-; echo $? >status",
        "$WRITE <&- >&- 2>&-; echo $? >status",
    ],
)
def test_what_is_written_is_whole_whoever_listens(line: str, tmp_path: Path) -> None:
    (tmp_path / "write.py").write_text(WRITE)

    shell(tmp_path, line)

    assert (tmp_path / "status").read_text() == "0\n"
    assert (tmp_path / "written").read_text().split() == [str(n) for n in range(9999)]


def test_inspecting_into_nothing_is_no_bug(folder: Path) -> None:
    status, _, said = shell(folder, "$M inspect in/a.nii >&-")

    assert (status, said) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
def test_output_that_is_lost_is_an_error_at_the_end(folder: Path) -> None:
    status, _, said = shell(folder, "$IMPUTE >/dev/full")

    assert status == 1
    assert "error: stdout cannot be written: No space left on device" in said
    assert json.loads((folder / "r.json").read_text())["counts"]["done"] == 3
