"""Tests for mriimpute.provenance."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mriimpute.provenance import provenance, versions


def test_the_record_is_plain_json_with_checksums(tmp_path: Path) -> None:
    (tmp_path / "a b.nii").write_bytes(b"abc")

    record = provenance(
        command=["mriimpute", "impute", str(tmp_path / "a b.nii")],
        seed=4,
        device="cpu",
        seconds=1.23456,
        inputs=[tmp_path / "a b.nii"],
        settings={"axes": (1, 2), "run": tmp_path / "run", "deep": {"x": [tmp_path]}},
    )

    assert json.loads(json.dumps(record)) == record
    assert record["command"] == "mriimpute impute 'a b.nii'"
    assert record["inputs"] == [{"name": "a b.nii", "sha256": ABC}]
    assert record["settings"]["run"] == "run"
    assert (record["seed"], record["device"], record["seconds"]) == (4, "cpu", 1.235)
    assert record["GeneratedBy"][0]["Name"] == "mriimpute"


ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    "word",
    ["/wards/DOE_JANE/scan.nii", "--out=/wards/DOE_JANE/scan.nii", "../DOE_JANE/scan.nii"],
)
def test_folders_are_not_recorded(word: str) -> None:
    record = provenance(command=["mriimpute", word], seed=0, device="cpu", seconds=0.0)

    assert "DOE" not in json.dumps(record)
    assert "scan.nii" in record["command"]


@pytest.mark.parametrize("words", [["DOE_JANE"], ["--out=DOE_JANE"], ["-o", "x/../DOE_JANE/"]])
def test_a_folder_is_recorded_without_its_name(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "DOE_JANE").mkdir()
    monkeypatch.chdir(tmp_path)

    record = provenance(command=["mriimpute", *words], seed=0, device="cpu", seconds=0.0)

    assert "DOE" not in record["command"]
    assert record["command"].endswith("DIR")


@pytest.mark.parametrize("word", ["train.steps=200", "--seed=3", "-q", ".", "/", "20"])
def test_words_that_are_no_paths_stay(word: str) -> None:
    record = provenance(command=["mriimpute", word], seed=0, device="cpu", seconds=0.0)

    assert record["command"] == f"mriimpute {word}"


def test_versions_are_known_without_importing_anything() -> None:
    code = "import sys; from mriimpute.provenance import versions; versions(); "
    code += "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603
    assert versions()["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
