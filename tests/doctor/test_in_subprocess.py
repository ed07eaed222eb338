"""Tests for mriimpute.doctor.in_subprocess."""

from pathlib import Path

import pytest

from mriimpute.doctor import Check, self_test


@pytest.mark.parametrize(
    ("torch", "said"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGILL)", "ended by SIGILL"),
        ("import os\nos._exit(3)", "ended with status 3"),
    ],
)
def test_a_process_that_dies_is_a_failed_check(
    torch: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text(torch)
    monkeypatch.syspath_prepend(tmp_path)  # the other process looks there first, too

    (check,) = self_test("cpu")

    assert isinstance(check, Check)
    assert (check.name, check.verdict) == ("self-test", "fail")
    assert said in check.note
    assert "ONEDNN_MAX_CPU_ISA" in check.note
