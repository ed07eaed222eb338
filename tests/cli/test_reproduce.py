"""Tests for `mriimpute reproduce`."""

import gzip
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mriimpute.cli import app
from mriimpute.papers import available, listing


@pytest.fixture
def data(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Fashion-MNIST of 8 x 8 pixels of noise."""
    folder = tmp_path / "fashion"
    folder.mkdir()
    for prefix, count in (("train", 340), ("t10k", 60)):
        for kind, shape in (("images-idx3", (count, 8, 8)), ("labels-idx1", (count,))):
            head = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
            content = head + rng.bytes(int(np.prod(shape)))
            (folder / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
    return tmp_path


def call(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["reproduce", *map(str, words)])
    return result.exit_code, result.stdout, result.stderr


def test_smoke_run_writes_tables_record_and_figure(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = data / "out"
    words = ("fig4", "--data", data, "--budget", "smoke", "-o", out, "--device", "cpu")

    code, stdout, stderr = call(*words)

    assert code == 0, stderr
    assert {"table.tsv", "table.md", "record.json", "figure.png"} <= {
        p.name for p in out.iterdir()
    }
    assert (out / "figure.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((out / "record.json").read_text())
    assert record["settings"]["experiment"] == "fig4"
    assert record["command"].startswith("mriimpute reproduce fig4")
    lines = stdout.splitlines()
    assert lines[:2] == [record["title"], record["source"]]
    assert lines[-1] == str(out)
    for claim in record["claims"]:
        assert f"{'yes' if claim['holds'] else 'NO'}: {claim['text']}" in stdout
    figure = f"{record['tables'][0]['rows'][0][2]:.4g}"
    assert figure in stdout

    again = call(*words)

    assert "12 of 12 tasks were finished before" in again[2]
    assert again[1] == stdout

    monkeypatch.setenv("COLUMNS", "80")
    narrow = call(*words)[1].splitlines()
    tables = [line for line in narrow[2:-1] if not re.match("(yes|NO): ", line)]
    assert max(map(len, tables)) <= 80
    assert figure in "\n".join(tables)


def test_help_lists_every_experiment_with_its_title() -> None:
    words = " ".join(call("--help")[1].split())

    for name, entry in listing().items():
        assert f"{name}: {entry.title}" in words
        assert entry.source in words
        assert f"Reads {', '.join(entry.data)}" in words
    assert list(listing()) == available()


def test_help_says_which_files_hold_the_data() -> None:
    words = " ".join(call("--help")[1].split())

    for name in {name for entry in listing().values() for name in entry.data}:
        assert f"{name}:" in words or f"{name}, " in words
    for file in ("-ubyte.gz", "*inertial*.npz", "is_test", "depth (n, h, w)", "*_dseg"):
        assert file in words


def test_missing_data_are_two_lines_and_status_1(tmp_path: Path) -> None:
    code, stdout, stderr = call(
        "fig4", "--data", tmp_path, "--device", "cpu", "-o", tmp_path / "o"
    )

    assert (code, stdout) == (1, "")
    error, hint = stderr.splitlines()[-2:]
    assert error.startswith(
        f"error: {tmp_path} holds no Fashion-MNIST (train-images-idx3-ubyte.gz"
    )
    assert "--data" in hint


def test_experiment_of_scans_alone_asks_for_no_other_data() -> None:
    code, _, stderr = call("fig7", "--device", "cpu")

    assert code == 1
    assert "needs scans" in stderr
    assert "--scans" in stderr


def test_unknown_experiment_is_two_lines_and_status_1(tmp_path: Path) -> None:
    code, _, stderr = call("fig99", "--data", tmp_path, "--device", "cpu")

    assert code == 1
    assert "no experiment is called 'fig99'" in stderr


def test_budget_is_one_of_three(tmp_path: Path) -> None:
    assert call("fig4", "--data", tmp_path, "--budget", "huge")[0] == 2
