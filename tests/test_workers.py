"""Tests for mriimpute.workers."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

PARENT = """
import multiprocessing, os, signal, time
from mriimpute.workers import begin_worker

def work(n):
    os.kill(os.getpid(), signal.SIGINT)
    print("at work", flush=True)
    time.sleep(60)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    context.Pool(2, initializer=begin_worker).map(work, range(2), chunksize=1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_workers_outlive_ctrl_c_and_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    command = [sys.executable, script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:  # noqa: S603
        assert parent.stdout is not None
        said = [parent.stdout.readline() for _ in range(2)]

        parent.send_signal(signal.SIGKILL)

        parent.communicate(timeout=20)  # waits for all that can write: for the workers, too
    assert said == ["at work\n"] * 2
