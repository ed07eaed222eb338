"""Tests under `torchrun` itself: a process that is killed is replaced, and the run goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import Begin
from .test_train import journal, words

TORCHRUN = [
    *(sys.executable, "-m", "torch.distributed.run"),
    *("--standalone", "--nproc-per-node", "2", "--max-restarts", "1", "-m", "mriimpute"),
]


def worker(agent: int, rank: int) -> int:
    """Returns the number of one of the processes that torchrun has started."""
    for process in Path(f"/proc/{agent}/task/{agent}/children").read_text().split():
        if f"\0RANK={rank}\0" in Path(f"/proc/{process}/environ").read_text():
            return int(process)
    raise LookupError(f"no process of rank {rank}")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_torchrun_restarts_a_run_that_lost_a_process_and_nothing_is_lost(
    cohort: Path, tmp_path: Path, begin: Begin
) -> None:
    course = {"batch": 4, "report": 40, "patches": 160, "save_minutes": 0.002}
    whole, parts = (words(cohort, tmp_path / n, "conv-mean", **course) for n in ("whole", "parts"))
    checkpoint = tmp_path / "parts" / "checkpoint.safetensors"

    unbroken = begin(whole)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    broken = subprocess.Popen([*TORCHRUN, *map(str, parts)], env=environment)  # noqa: S603
    while not checkpoint.exists():
        time.sleep(0.01)
    os.kill(worker(broken.pid, 1), signal.SIGKILL)

    assert broken.wait(600) == 0
    assert unbroken.ended() == [0, 0]
    for name in ("model.safetensors", "checkpoint.safetensors"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert journal(tmp_path / "parts") == journal(tmp_path / "whole")
