"""Two processes that share a command, as `torchrun` would start them.

They are forked from one that has loaded torch, which takes seconds, and meet on the loopback
interface by a port that the system chooses.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from torch.distributed import TCPStore

Words = Sequence[object]
Begin = Callable[..., "Pair"]

SIZE = 2

RANK = """
import os, sys
import torch

os.environ.update(environment)
torch.set_num_threads(1)
file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for stream in (1, 2):
    os.dup2(file, stream)

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
        store: What processes before them have used; None for a new one.
    """

    def __init__(
        self, commands: Sequence[Words], logs: Path, store: TCPStore | None = None
    ) -> None:
        # As torchrun does: the store lives in neither of the two, and is never emptied.
        self.store = store or TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)
        said = [list(map(str, words)) for words in commands]
        self.logs = [logs / f"{rank}.log" for rank in range(SIZE)]
        self.processes = [self._started(rank, said) for rank in range(SIZE)]

    def _started(self, rank: int, commands: Sequence[Sequence[str]]) -> BaseProcess:
        environment = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(SIZE),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self.store.port),
            "GLOO_SOCKET_IFNAME": "lo",
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }
        known = {"environment": environment, "log": str(self.logs[rank]), "commands": commands}
        context = multiprocessing.get_context("forkserver")
        process = context.Process(target=exec, args=(RANK, known), daemon=True)
        process.start()
        return process

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


@pytest.fixture(scope="session")
def loaded() -> None:
    """Makes processes start from one that has loaded all they need."""
    wanted = [
        "mriimpute.train.fit",
        "mriimpute.impute.batch",
        "mriimpute.impute.cross_plane_ridge",
        "mriimpute.models.tae",
        "mriimpute.cli",
        "scipy.interpolate",
        "skimage.filters",
        "torch._dynamo",  # the optimisers want it
        "torch.distributed",
    ]
    multiprocessing.set_forkserver_preload(wanted)


@pytest.fixture
def begin(loaded: None, tmp_path: Path) -> Iterator[Begin]:
    """Starts commands in two processes each."""
    begun: list[Pair] = []

    def start(*commands: Words, store: TCPStore | None = None) -> Pair:
        logs = tmp_path / f"logs{len(begun)}"
        logs.mkdir()
        begun.append(Pair(commands, logs, store))
        return begun[-1]

    yield start

    for pair in begun:
        for process in pair.processes:
            process.kill()


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
