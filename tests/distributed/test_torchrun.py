"""Tests under `torchrun` itself: a process that is killed is replaced, and the run goes on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import COURSE, Begin, first_checkpoint
from .test_train import assert_same_run, words

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
    whole, parts = (words(cohort, tmp_path / n, "conv-mean", **COURSE) for n in ("whole", "parts"))

    unbroken = begin(whole)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    broken = subprocess.Popen([*TORCHRUN, *map(str, parts)], env=environment)  # noqa: S603
    first_checkpoint(tmp_path / "parts")
    os.kill(worker(broken.pid, 1), signal.SIGKILL)

    assert broken.wait(600) == 0
    assert unbroken.ended() == [0, 0]
    assert_same_run(tmp_path / "parts", tmp_path / "whole")
