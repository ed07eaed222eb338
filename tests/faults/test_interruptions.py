"""Commands that are killed, that find the disk full or whose clock jumps: results stay the same.

A command runs in a copy of this process, which is cheap to begin and to kill. By default a few
kills; `MRIIMPUTE_KILLS=100 pytest -m slow tests/faults/test_interruptions.py` makes a hundred.
"""

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mriimpute import files
from mriimpute.cli import app

CLOCKED = ("seconds", "seconds_per_draw", "patches_per_second")
"""Entries of records that say how long something took: all that may differ between two runs."""

UNFINISHED = (".partial.", ".probe")

PPCA = ["--model=ppca", "--set=model.patch=[4,4,4]", "--set=model.latents=3"]
PPCA += [
    f"--set=train.{setting}"
    for setting in ("objective=evidence", "patches=240", "batch=4", "report=8", "val_patches=8")
]

WITHOUT_TRUTH = "evaluate --without-truth"

Command = list[str]

KILLS = int(os.environ.get("MRIIMPUTE_KILLS", "4"))

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="fork, SIGKILL, mount")


@pytest.fixture(scope="session")
def made(
    tmp_path_factory: pytest.TempPathFactory, made_up_heads: Callable[[Path, int], None]
) -> Path:
    """Four made-up heads in `full`, every third slice of each in `sim`."""
    folder = tmp_path_factory.mktemp("made")
    made_up_heads(folder / "full", 4)
    commands = commands_on(folder, folder / "sim")
    assert CliRunner().invoke(app, commands["simulate"]).exit_code == 0
    return folder


@pytest.fixture(scope="session")
def warm(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same heads, once every command has run here: its copies have loaded what they need."""
    for name in commands_on(made, made):
        if name != "simulate":
            words = commands_on(made, tmp_path_factory.mktemp("warm") / "out")[name]
            result = CliRunner().invoke(app, words)
            assert result.exit_code == 0, result.stderr
    return made


def commands_on(made: Path, out: Path) -> dict[str, Command]:
    """Returns every command that writes, with results in `out`."""
    words: dict[str, list[Any]] = {
        "simulate": [made / "full", "--keep-every", 3, "--spacing", "source", "--no-register"],
        "train": [made / "sim" / "cohort", *PPCA],
        "impute": [made / "sim" / "cohort", "--model", "cross-plane-ridge", "--samples", 2],
        "evaluate": [made / "sim", "--methods", "linear,cross-plane-ridge@scan", "--samples", 2],
        WITHOUT_TRUTH: [made / "sim" / "cohort", "--methods", "linear,pchip", "--split", "all"],
    }
    common = ["-o", out, "--device", "cpu", "--no-progress", "--quiet"]
    return {name: [*name.split(), *map(str, [*given, *common])] for name, given in words.items()}


def begun(command: Sequence[str], said: Path) -> int:
    """Starts a command in a copy of this process, which has all libraries already.

    Returns its process id, which is also that of its group. What it says goes to `said`.
    """
    process = os.fork()
    if process:
        return process
    try:  # nothing of pytest may run in the copy
        os.setpgid(0, 0)
        sys.stdout = sys.stderr = said.open("w", encoding="utf-8")
        os.dup2(sys.stderr.fileno(), 2)
        files.STARTED = time.time()  # as in a process that really began now
        torch.set_num_threads(1)  # those of the original are not in the copy
        try:
            app(list(command))
        except SystemExit as stop:
            sys.stderr.flush()
            os._exit(int(stop.code or 0))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(99)


Finished = Callable[[Sequence[str]], tuple[int, str]]


@pytest.fixture
def finished(tmp_path: Path) -> Finished:
    """Returns a function that runs a command to its end: exit status, and what it said."""

    def run(command: Sequence[str]) -> tuple[int, str]:
        said = tmp_path / "said.txt"
        _, status = os.waitpid(begun(command, said), 0)
        return os.waitstatus_to_exitcode(status), said.read_text(encoding="utf-8")

    return run


def content(folder: Path) -> dict[str, Any]:
    """Returns what every finished file holds; fails if one is only half there.

    Records are returned without what a clock said.
    """
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if not any(word in path.name for word in UNFINISHED):
            found[path.relative_to(folder).as_posix()] = _content(path)
    return found


def _content(path: Path) -> Any:
    raw = path.read_bytes()
    assert raw, f"{path} is empty"
    if path.name.endswith(".nii.gz"):
        gzip.decompress(raw)
        assert np.asarray(nib.load(path).dataobj).size
    if path.suffix == ".json":
        return _timeless(json.loads(raw))
    if path.suffix == ".jsonl":
        return [_timeless(json.loads(line)) for line in raw.splitlines()]
    if path.suffix in (".csv", ".tsv"):
        assert raw.endswith(b"\n")
        return _columns(raw.decode().splitlines(), "\t" if path.suffix == ".tsv" else ",")
    if path.suffix == ".png":
        assert raw.endswith(b"IEND\xaeB`\x82")
        return "a figure"  # it may show seconds
    if path.suffix == ".html":
        assert raw.rstrip().endswith(b"</html>")
        return "a page"
    return raw


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in CLOCKED}
    if isinstance(value, list):
        return [_timeless(item) for item in value]
    return "NaN" if value != value else value


def _columns(lines: list[str], delimiter: str) -> list[list[str]]:
    names = lines[0].split(delimiter)
    kept = [n for n, name in enumerate(names) if name not in CLOCKED]
    return [[cell for n, cell in enumerate(line.split(delimiter)) if n in kept] for line in lines]


def reference(made: Path, name: str, out: Path, finished: Finished) -> dict[str, Any]:
    """Returns what a command makes that nobody interrupts; nothing of it is left."""
    status, said = finished(commands_on(made, out)[name])
    assert status == 0, said
    expected = content(out)
    assert expected
    shutil.rmtree(out)
    return expected


# --- kills -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simulate", "train", "impute", "evaluate", WITHOUT_TRUTH])
def test_a_killed_command_leaves_no_half_file_and_goes_on_to_the_same_bytes(
    warm: Path, tmp_path: Path, finished: Finished, name: str
) -> None:
    out, said = tmp_path / "out", tmp_path / "killed.txt"
    began = time.monotonic()
    expected = reference(warm, name, out, finished)
    lasted = time.monotonic() - began
    delays = random.Random(name)  # noqa: S311 - a string, so the same every time
    hits: Counter[str] = Counter()

    while hits.total() < KILLS / 4:
        process = begun(commands_on(warm, out)[name], said)
        time.sleep(delays.uniform(0, lasted))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        if not os.WIFSIGNALED(status):  # it was faster than the one before
            lasted *= 0.9
            shutil.rmtree(out)
            continue

        left = content(out)
        partial = [
            path for path in out.rglob("*") if any(word in path.name for word in UNFINISHED)
        ]
        hits[where(left, expected, partial)] += 1
        again, told = finished(commands_on(warm, out)[name])

        assert again == 0, told
        assert content(out) == expected
        assert not [path for path in out.rglob("*") if ".partial." in path.name]
        shutil.rmtree(out)
    sys.stdout.write(f"{name}, {lasted:.1f} s: {dict(hits)}\n")


def where(left: dict[str, Any], expected: dict[str, Any], partial: Sequence[Path]) -> str:
    """Returns how far a command was when it was killed."""
    if partial:
        return "inside of a file"
    if not left:
        return "before the first file"
    return "between files" if left != expected else "behind the last file"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simulate", "train", "impute", "evaluate"])
def test_what_is_left_of_a_kill_in_the_very_first_file_is_in_nobodys_way(
    warm: Path, tmp_path: Path, finished: Finished, name: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    process = begun(["--version"], tmp_path / "said.txt")
    os.waitpid(process, 0)
    for word in (
        "partial.config.toml",
        "partial.simulation.json",
        "partial.settings.json",
        "probe",
    ):
        (out / f".{process}.{word}").write_bytes(b"half")

    status, said = finished(commands_on(warm, out)[name])

    assert status == 0, said


# --- a full disk -----------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Returns a function that makes a disk of so many bytes, or resizes it."""
    place = tmp_path / "disk"
    mounted = False

    def sized(count: int) -> Path:
        nonlocal mounted
        place.mkdir(exist_ok=True)
        remount = "remount," if mounted else ""
        words = ["mount", "-t", "tmpfs", "-o", f"{remount}size={count}", "tmpfs", str(place)]
        if not shutil.which("mount") or subprocess.run(words, capture_output=True).returncode:  # noqa: S603
            pytest.skip("may not mount a small disk here")
        mounted = True
        return place

    yield sized
    if mounted:
        subprocess.run(["umount", str(place)], check=True)  # noqa: S603, S607


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simulate", "train", "impute", "evaluate", WITHOUT_TRUTH])
def test_a_full_disk_is_two_lines_and_no_half_file_and_more_space_gives_the_same_bytes(
    warm: Path, small_disk: Callable[[int], Path], finished: Finished, name: str
) -> None:
    out = small_disk(1 << 30) / "out"
    expected = reference(warm, name, out, finished)
    statuses = []

    for pages in (1, 2, 4, 8, 16, 32, 64):  # it fills up early or late
        small_disk(pages * 4096)
        status, said = finished(commands_on(warm, out)[name])

        statuses.append(status)
        assert status in (0, 1), said
        assert "Traceback" not in said
        assert "unexpected" not in said
        if status:
            refused = "take at least" in said  # what cannot end is not begun
            assert refused or "No space left on device" in said
            assert "hint: " in said
        left = content(out) if out.exists() else {}
        assert not [path for path in out.rglob("*") if ".partial." in path.name]
        kept = {path for path in left if not path.startswith("cache/")}  # for the next try
        assert kept <= set(expected)
    small_disk(1 << 30)
    status, said = finished(commands_on(warm, out)[name])

    assert status == 0, said
    assert content(out) == expected
    assert statuses[0] == 1


# --- a clock that jumps ----------------------------------------------------------------------

DAY = 86_400.0


@pytest.mark.slow
@pytest.mark.parametrize("days", [-4000, 3])
@pytest.mark.parametrize("name", ["simulate", "train", "impute", "evaluate"])
def test_a_clock_that_jumps_changes_no_byte(
    warm: Path,
    tmp_path: Path,
    finished: Finished,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    days: int,
) -> None:
    out = tmp_path / "out"
    expected = reference(warm, name, out, finished)
    told, jumps = time.time, Counter[str]()

    def jumping() -> float:
        jumps["asked"] += 1
        return told() + days * DAY * (jumps["asked"] % 3)  # to and fro

    monkeypatch.setattr(time, "time", jumping)
    status, said = finished(commands_on(warm, out)[name])

    assert status == 0, said
    assert content(out) == expected


def test_only_leftovers_are_dated_by_the_clock_on_the_wall() -> None:
    """Durations come from a clock that never jumps; benchmarks and logs say when they were."""
    package = Path(files.__file__).parent
    users = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "time.time()" in (text := path.read_text(encoding="utf-8"))
        or "datetime" in text.replace("from datetime import timedelta", "")
    }

    assert users <= {"files.py", "bench/run.py", "cli/log_file.py"}
