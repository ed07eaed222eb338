"""Tests for the application as a whole: common options, messages, exit status."""

import logging
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import typer
from typer.main import get_command
from typer.testing import CliRunner, Result

from mriimpute import __version__
from mriimpute.cli import app
from mriimpute.cli.app import COMMON, command
from mriimpute.cli.run import Run
from mriimpute.errors import OutputError
from mriimpute.progress import silent

COMMANDS = get_command(app).commands
HEAVY = ("torch", "nibabel", "scipy", "matplotlib", "SimpleITK", "numpy")


@pytest.fixture
def probe() -> Iterator[list[Run]]:
    """A command `probe --raises NAME` that is there for one test; yields the runs it got."""
    runs: list[Run] = []

    @command("probe")
    def probe_command(run: Run, raises: str = "") -> None:
        """Probe."""
        runs.append(run)
        logging.getLogger("mriimpute.probe").info("said")
        logging.getLogger("mriimpute.probe").debug("whispered")
        logging.getLogger("mriimpute.probe").warning("warned")
        logging.getLogger("some_library").info("read")
        logging.getLogger("some_library").debug("parsed")
        if raises:
            raise ERRORS[raises]

    yield runs
    app.registered_commands.pop()


ERRORS: dict[str, BaseException] = {
    "expected": OutputError("x exists\nalready", hint="pass --overwrite"),
    "bug": ZeroDivisionError("by zero"),
    "system": PermissionError(13, "Permission denied", "/data/x"),
    "memory": MemoryError(),
    "cpu memory": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    "gpu memory": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    "stop": KeyboardInterrupt(),
    "usage": typer.BadParameter("no such thing"),
    "some failed": typer.Exit(1),
}


def run(*words: str) -> Result:
    return CliRunner().invoke(app, words)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_an_example(name: str) -> None:
    assert f"mriimpute {name}" in (COMMANDS[name].help or "")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_the_common_options(name: str) -> None:
    names = [parameter.name for parameter in COMMANDS[name].params]

    assert set(COMMON) <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_no_option_of_a_command_is_spelled_twice(name: str) -> None:
    spelled = [word for parameter in COMMANDS[name].params for word in parameter.opts]

    assert len(spelled) == len(set(spelled))


@pytest.mark.parametrize("words", [["--help"], ["inspect", "--help"], ["--version"], ["doctor"]])
def test_help_waits_for_no_heavy_library(words: list[str]) -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from mriimpute.cli import app\n"
        f"assert CliRunner().invoke(app, {words!r}).exit_code == 0\n"
        f"sys.exit(' '.join(name for name in {HEAVY!r} if name in sys.modules) or 0)"
    )

    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_version_names_the_package_first_then_what_it_stands_on() -> None:
    package, python, library, driver = run("--version").stdout.splitlines()

    assert package == f"mriimpute {__version__}"
    assert python == f"Python {platform.python_version()}"
    assert library == f"torch {torch.__version__}, CUDA {torch.version.cuda or 'none'}"
    assert driver.startswith("NVIDIA driver ")


def test_module_and_command_are_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mriimpute", "--version"],
        check=True,
        capture_output=True,
        text=True,
    )

    assert done.stdout.splitlines()[0] == f"mriimpute {__version__}"


@pytest.mark.parametrize(
    ("name", "problem", "hint"),
    [
        ("expected", "error: x exists already", "hint: pass --overwrite"),
        ("bug", "error: unexpected ZeroDivisionError: by zero", "hint: this is a bug"),
        ("system", "error: /data/x: Permission denied", "hint: check that the path is right"),
        ("memory", "error: out of memory", "hint: close other programs"),
        ("cpu memory", "error: out of memory", "hint: close other programs"),
        ("gpu memory", "error: the GPU is out of memory", "hint: close other programs"),
    ],
)
@pytest.mark.usefixtures("probe")
def test_every_failure_is_two_lines_and_status_1(name: str, problem: str, hint: str) -> None:
    result = run("probe", "--raises", name, "-q")

    warned, first, second = result.stderr.splitlines()
    assert result.exit_code == 1
    assert result.stdout == ""
    assert warned == "warning: warned"
    assert first == problem
    assert second.startswith(hint)


@pytest.mark.usefixtures("probe")
def test_debug_adds_the_traceback() -> None:
    result = run("probe", "--raises", "bug", "--debug")

    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.splitlines()[-2].startswith("error: ")


@pytest.mark.usefixtures("probe")
def test_a_keyboard_interrupt_is_one_line_and_status_130() -> None:
    result = run("probe", "--raises", "stop", "-q")

    assert result.exit_code == 130
    assert result.stderr.splitlines()[1:] == [
        "interrupted: nothing is half written; run the same command again to go on"
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["probe", "--raises", "usage"],
        ["probe", "--no-such-option"],
        ["probe", "--device", "gpu"],
        ["probe", "--device", "cuda:x"],
        ["probe", "--seed", "-1"],
        ["probe", "--threads", "x"],
        ["nonsense"],
        ["inspect"],
    ],
)
@pytest.mark.usefixtures("probe")
def test_usage_errors_have_status_2_and_leave_stdout_alone(words: list[str]) -> None:
    result = run(*words)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


@pytest.mark.usefixtures("probe")
def test_a_command_may_end_with_status_1_without_a_message() -> None:
    result = run("probe", "--raises", "some failed", "-q")

    assert (result.exit_code, result.stderr) == (1, "warning: warned\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "said\nwarning: warned\n"),
        (["-q"], "warning: warned\n"),
        (["-v"], "said\ndebug: whispered\nwarning: warned\n"),
        (["-vv"], "said\ndebug: whispered\nwarning: warned\nread\n"),
        (["-vvv"], "said\ndebug: whispered\nwarning: warned\nread\ndebug: parsed\n"),
        (["--debug"], "said\ndebug: whispered\nwarning: warned\n"),
    ],
)
@pytest.mark.usefixtures("probe")
def test_talk_goes_to_stderr_as_much_as_wanted(words: list[str], expected: str) -> None:
    result = run("probe", *words)

    stamp = r"^\d\d:\d\d:\d\d " if words and words[0] != "-q" else "^"
    lines, wanted = result.stderr.splitlines(), expected.splitlines()
    assert result.stdout == ""
    assert len(lines) == len(wanted)
    assert all(re.match(f"{stamp}{want}$", line) for line, want in zip(lines, wanted, strict=True))


@pytest.mark.usefixtures("probe")
def test_nothing_of_one_run_stays_for_the_next(tmp_path: Path) -> None:
    package, root = logging.getLogger("mriimpute"), logging.getLogger()
    before = (
        list(package.handlers),
        list(root.handlers),
        package.level,
        root.level,
        dict(os.environ),
        signal.getsignal(signal.SIGTERM),
        torch.get_num_threads(),
    )

    run("probe", "-vvv", "--threads", "1", "--raises", "bug", "--log-file", str(tmp_path / "log"))

    after = (
        list(package.handlers),
        list(root.handlers),
        package.level,
        root.level,
        dict(os.environ),
        signal.getsignal(signal.SIGTERM),
        torch.get_num_threads(),
    )
    assert after == before


def test_common_options_reach_the_command(probe: list[Run]) -> None:
    run("probe", "--seed", "7", "--device", "cpu", "--overwrite", "--no-progress", "--threads=3")

    (got,) = probe
    assert (got.seed, got.device, got.overwrite, got.threads) == (7, "cpu", True, 3)
    assert got.track is silent
    assert got.command_line == (
        "mriimpute",
        "probe",
        *("--seed", "7", "--device", "cpu", "--overwrite", "--no-progress", "--threads=3"),
    )


def test_threads_are_in_force_inside_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    found: list[tuple[int, str]] = []

    @command("threads-probe")
    def threads_probe(run: Run) -> None:
        """Probe."""
        found.append((torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]))

    run("threads-probe", "--threads", "1")
    app.registered_commands.pop()

    assert found == [(1, "1")]
    assert os.environ["OMP_NUM_THREADS"] == "5"


@pytest.mark.parametrize(("policy", "spins"), [(None, "3000"), ("active", "-")])
def test_threads_wait_asleep_unless_the_user_says_otherwise(
    policy: str | None, spins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.setenv("KMP_BLOCKTIME", "200")
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    if policy:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    found: list[str] = []

    @command("waiting-probe")
    def waiting_probe(run: Run) -> None:
        """Probe."""
        names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
        found.extend(os.environ.get(name, "-") for name in (*names, "MKL_NUM_THREADS"))

    run("waiting-probe")
    app.registered_commands.pop()

    assert found == [policy or "passive", spins, "200", "5"]
    assert "GOMP_SPINCOUNT" not in os.environ


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_cuda_that_is_not_there_is_an_error_not_a_silent_cpu(name: str, probe: list[Run]) -> None:
    from mriimpute.errors import DeviceError

    run("probe", "--device", name)

    with pytest.raises(DeviceError, match=f"device '{name}' is not there") as failure:
        _ = probe[0].device
    assert "--device cpu" in failure.value.hint


def test_record_holds_what_made_the_result_and_no_folder(probe: list[Run], tmp_path: Path) -> None:
    (tmp_path / "scan.nii").write_bytes(b"abc")
    run("probe", "--raises", f"{tmp_path}/x", "--seed", "3")

    record = probe[0].record(inputs=[tmp_path / "scan.nii"], settings={"a": tmp_path / "b"})

    assert record["seed"] == 3
    assert record["inputs"][0]["name"] == "scan.nii"
    assert record["inputs"][0]["sha256"].startswith("ba7816bf")
    assert record["versions"]["mriimpute"] == __version__
    assert str(tmp_path) not in str(record)


def test_sigterm_ends_like_ctrl_c(tmp_path: Path) -> None:
    code = (
        "import os, signal; from mriimpute.cli.app import app, command\n"
        "@command('wait')\n"
        "def wait(run):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "app(['wait'])"
    )

    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )

    assert done.returncode == 130
    assert done.stderr.startswith("interrupted: ")


def test_a_closed_pipe_ends_without_a_traceback() -> None:
    command_line = f"{sys.executable} -m mriimpute --help | true"

    done = subprocess.run(  # noqa: S602
        command_line, shell=True, check=False, capture_output=True, text=True
    )

    assert "Traceback" not in done.stderr
