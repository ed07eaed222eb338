"""Tests for mriimpute.workers."""

from collections.abc import Callable

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


def test_workers_outlive_ctrl_c_and_end_with_a_parent_that_is_killed(
    killed: Callable[[str, int], list[str]],
) -> None:
    assert killed(PARENT, 2) == ["at work\n"] * 2
