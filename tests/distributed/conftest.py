"""Two processes that share a command, as `torchrun` would start them.

They meet on the loopback interface by a port that the system chooses.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from torch.distributed import TCPStore

Words = Sequence[object]
Begin = Callable[..., "Pair"]
StartProcess = Callable[..., BaseProcess]

SIZE = 2

COURSE = {"batch": 4, "report": 40, "patches": 160, "save_minutes": 0.002}
"""Of a training of 40 steps that writes its first checkpoint after a few."""

RANK = """
import os, signal, sys
import torch

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever began the tests may ignore it
os.environ.update(environment)
torch.set_num_threads(1)

from mriimpute.cli import app

for words in commands:
    status = app(words, standalone_mode=False)
    sys.stdout.flush()
    if status:
        sys.exit(status)
"""


class Pair:
    """Two processes that run the same commands.

    Args:
        commands: One after the other.
        logs: Folder for what each process says.
        start_process: Starts a process.
        store: What processes before them have used; None for a new one.
    """

    def __init__(
        self,
        commands: Sequence[Words],
        logs: Path,
        start_process: StartProcess,
        store: TCPStore | None = None,
    ) -> None:
        # As torchrun does: the store lives in neither of the two, and is never emptied.
        self.store = store or TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)
        said = [list(map(str, words)) for words in commands]
        self.logs = [logs / f"{rank}.log" for rank in range(SIZE)]
        self.processes = [
            start_process(RANK, log, environment=self._environment(rank), commands=said)
            for rank, log in enumerate(self.logs)
        ]

    def _environment(self, rank: int) -> dict[str, str]:
        return {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(SIZE),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self.store.port),
            "GLOO_SOCKET_IFNAME": "lo",
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }

    def kill(self, rank: int) -> None:
        """Ends one of them at once, as a machine that goes down does."""
        os.kill(self.processes[rank].pid or 0, signal.SIGKILL)

    def interrupt(self, rank: int) -> None:
        """Does what Ctrl-C does, to one of them."""
        os.kill(self.processes[rank].pid or 0, signal.SIGINT)

    def ended(self) -> list[int | None]:
        """Waits for both and returns their exit status."""
        for process in self.processes:
            process.join(120)
        return [process.exitcode for process in self.processes]

    def said(self) -> list[str]:
        """Returns what each has printed."""
        return [log.read_text() for log in self.logs]


@pytest.fixture
def begin(start_process: StartProcess, tmp_path: Path) -> Iterator[Begin]:
    """Starts commands in two processes each."""
    begun: list[Pair] = []

    def start(*commands: Words, store: TCPStore | None = None) -> Pair:
        logs = tmp_path / f"logs{len(begun)}"
        logs.mkdir()
        begun.append(Pair(commands, logs, start_process, store))
        return begun[-1]

    yield start

    for pair in begun:
        for process in pair.processes:
            process.kill()


def first_checkpoint(run: Path) -> Path:
    """Waits until a training has written a checkpoint; returns its file."""
    path = run / "checkpoint.safetensors"
    while not path.exists():
        time.sleep(0.01)
    return path


@pytest.fixture
def cohort(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Three scans of smooth blobs, slices three voxels apart along k."""
    folder = tmp_path / "cohort"
    folder.mkdir()
    for name in "abc":
        blobs = 400 * np.kron(rng.random((5, 5, 3)), np.ones((3, 3, 2)))
        data = (blobs + 5 * rng.standard_normal((15, 15, 6))).astype(np.float32)
        nib.save(nib.Nifti1Image(data, np.diag([1.0, 1.0, 3.0, 1.0])), folder / f"{name}.nii.gz")
    return folder
