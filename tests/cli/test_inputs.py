"""Tests for `-i`, in place of what a command reads."""

from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from mriimpute.cli import app
from mriimpute.cli.bids import translated

COMMANDS = get_command(app).commands
READING = ("evaluate", "impute", "inspect", "simulate", "train")


def run(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


def test_every_command_that_reads_scans_takes_them_by_option() -> None:
    taking = {
        name
        for name, command in COMMANDS.items()
        if any("-i" in parameter.opts for parameter in command.params)
    }

    assert taking == set(READING)


@pytest.mark.parametrize("name", ["-i", "--input"])
def test_the_option_stands_for_the_word(name: str, thick: Path) -> None:
    assert run("inspect", name, thick, "--json").stdout == run("inspect", thick, "--json").stdout


@pytest.mark.parametrize("name", READING)
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-i", "a.nii", "b.nii"], "not both"),
        ([], "Missing argument"),
    ],
)
def test_both_or_none_is_wrong_usage(name: str, words: list[str], told: str) -> None:
    if name == "impute" and words:  # its -i takes several
        words = ["b.nii", *words[:2]]

    result = run(name, *words, *(["-o", "x"] if name == "simulate" else []))

    assert result.exit_code == 2
    assert told in result.stderr


def test_a_command_that_reads_one_thing_takes_one(thick: Path) -> None:
    result = run("inspect", "-i", thick, "-i", thick)

    assert result.exit_code == 2
    assert "one --input" in result.stderr


@pytest.mark.parametrize("again", [[], ["-i"]])
def test_impute_takes_several(again: list[str], tmp_path: Path, thick: Path) -> None:
    other = tmp_path / "other.nii.gz"
    other.write_bytes(thick.read_bytes())

    result = run(
        *("impute", "-i", thick, *again, other, "--model", "linear", "-o", tmp_path / "out")
    )

    assert result.exit_code == 0, result.stderr
    assert len(result.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--nthreads 8", "--threads 8"),
        ("--n_cpus 8 --omp-nthreads 4", "--threads 4"),
        ("--mem-mb 8000", "--mem-mb 8000"),
        ("--mem_mb 8G", "--mem-mb 8000"),
    ],
)
def test_a_bids_app_has_the_names_of_fmriprep(words: str, expected: str) -> None:
    line = translated(["in", "out", "participant", "--skip-bids-validation", *words.split()])

    assert line == ["impute", "in", "--out", "out", *expected.split()]


@pytest.mark.parametrize("memory", ["8B", "8GB", "1e999", "nan", "-8", "500K"])
def test_memory_that_is_none_is_a_usage_error(
    memory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        translated(["in", "out", "participant", "--skip-bids-validation", f"--mem={memory}"])

    assert end.value.code == 2
    assert f"'{memory}' is no number of MB" in capsys.readouterr().err
