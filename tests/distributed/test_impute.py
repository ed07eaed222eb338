"""Tests for scans imputed by two processes: each by one of them, to the bytes of one process."""

import json
from pathlib import Path

from typer.testing import CliRunner

from mriimpute.cli import app

from .conftest import Begin


def test_two_processes_share_the_scans_and_write_the_bytes_of_one(
    cohort: Path, tmp_path: Path, begin: Begin
) -> None:
    damaged = cohort / "b.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    # With other numbers of threads the last digits may differ.
    common = ["impute", cohort, "--model=cross-plane-ridge", "--samples=2", "--threads=1"]
    one, two = (
        [*common, "-o", tmp_path / n, "--report", tmp_path / f"{n}.json"] for n in ("one", "two")
    )

    pair = begin(two)
    CliRunner().invoke(app, [str(word) for word in one])

    assert pair.ended() == [1, 0]
    images = sorted(path.name for path in (tmp_path / "one").glob("*.nii.gz"))
    assert len(images) == 10
    assert sorted(path.name for path in (tmp_path / "two").glob("*.nii.gz")) == images
    for name in images:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()

    reports = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two")]
    kept = ("input", "status", "sha256", "outputs", "error")
    first, second = ([{key: case[key] for key in kept} for case in r["cases"]] for r in reports)
    assert first == second
    assert reports[0]["counts"] == reports[1]["counts"]
    assert reports[1]["complete"]

    main, other = pair.said()
    assert other == ""
    assert main.count("_desc-mean.nii.gz\n") == 2
    assert main.count("error: ") == 1
    assert "failed: 1 of 3: b.nii.gz" in main


def test_scans_that_were_done_before_are_left_alone(
    cohort: Path, tmp_path: Path, begin: Begin
) -> None:
    command = ["impute", cohort, "--model=linear", "-o", tmp_path / "out"]
    first = ["impute", cohort / "a.nii.gz", "--model=linear", "-o", tmp_path / "out"]
    CliRunner().invoke(app, [str(word) for word in first])

    pair = begin(command)

    assert pair.ended() == [0, 0]
    assert "1 of 3 were done before" in pair.said()[0]
    assert len(list((tmp_path / "out").glob("*_desc-mean.nii.gz"))) == 3


def test_what_is_wrong_is_said_once(cohort: Path, tmp_path: Path, begin: Begin) -> None:
    (tmp_path / "notes.json").write_text("{}")

    pair = begin(["impute", cohort, "--model=linear", "--report", tmp_path / "notes.json"])

    assert pair.ended() == [1, 1]
    assert "notes.json exists and is no report" in pair.said()[0]
    assert pair.said()[1] == ""
