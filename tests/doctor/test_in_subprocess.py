"""Tests for mriimpute.doctor.in_subprocess."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import OutOfMemoryError

from mriimpute.doctor import Check, in_subprocess, self_test
from mriimpute.doctor.in_subprocess import all_checks
from mriimpute.errors import DeviceError


@pytest.mark.parametrize(
    ("torch", "said", "hint"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGILL)", "by SIGILL", "ONEDNN_MAX"),
        (
            "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
            "by SIGKILL",
            "memory ran out",
        ),
        ("import os\nos._exit(3)", "ended with status 3", "report it"),
        ("import time\ntime.sleep(9)", "no word for 1 s", "report it"),
    ],
)
def test_a_process_that_dies_is_a_failed_check(
    torch: str, said: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text(torch)
    if "sleep" in torch:  # no other may end early on a busy machine
        monkeypatch.setattr(in_subprocess, "SILENCE_SECONDS", 0.6)
        monkeypatch.setattr(in_subprocess, "EXIT_SECONDS", 0.0)
    monkeypatch.syspath_prepend(tmp_path)  # the other process looks there first, too

    (check,) = self_test("cpu")

    assert isinstance(check, Check)
    assert (check.name, check.verdict) == ("self-test", "fail")
    assert said in check.note
    assert hint in check.note


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OutOfMemoryError("CUDA out of memory. Tried to allocate 924.00 MiB"),
            "the GPU is out of",
        ),
        (MemoryError(), "out of memory; close other programs"),
        (RuntimeError("no kernel\nimage"), "RuntimeError: no kernel image"),
        (DeviceError("/a b/x.nii: gone", hint="look"), "x.nii: gone; look"),
    ],
)
def test_checks_that_cannot_be_made_fail_and_the_others_go_on(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(device: str) -> Iterator[Check]:
        yield Check("first", "ok")
        raise error

    monkeypatch.setattr("mriimpute.doctor.numerics.numeric_checks", fail)
    monkeypatch.setattr("mriimpute.doctor.imputation.package_checks", lambda: iter(()))
    monkeypatch.setattr(
        "mriimpute.doctor.imputation.imputation_checks", lambda _: iter([Check("last", "ok")])
    )

    first, failed, last = all_checks("cpu")

    assert (first.name, last.name) == ("first", "last")
    assert (failed.name, failed.verdict) == ("numbers, cpu", "fail")
    assert failed.note.startswith(said)
