"""What happens where memory ends: the scan fails in two lines, and leaves no file."""

import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mriimpute.cohort import target_grid
from mriimpute.errors import ResourceError
from mriimpute.imputation import scan as scan_module
from mriimpute.imputation.jobs import plan_jobs
from mriimpute.imputation.request import Request
from mriimpute.imputation.scan import impute_scan
from mriimpute.methods.base import Imputation, Imputer
from mriimpute.methods.memory_estimate import MemoryEstimate
from mriimpute.volume import Volume

StartProcess = Callable[..., BaseProcess]

CODE = """
import resource
import numpy as np
import torch
import mriimpute.cli.impute
from mriimpute.cli import app
from mriimpute.cohort import target_grid
from mriimpute.imputation import batch, scan as imputation
from mriimpute.methods.registry import load_imputer

# Libraries are not what memory should end in: OpenBLAS, which takes its share when it is first
# used, would end the process.
load_imputer(model, device="cpu")
np.linalg.solve(np.eye(300), np.eye(300) @ np.eye(300))
if blind:  # the estimate sees no limit
    imputation.available_bytes = target_grid.available_bytes = lambda device: None
with open("/proc/self/statm") as file:
    held = int(file.read().split()[0]) * resource.getpagesize()
limit = held + room
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
app(["impute", scan, "-o", out, "--model", model, "--device", "cpu", "--no-progress"])
"""


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A scan whose imputed grid has a million voxels."""
    data = np.random.default_rng(0).integers(0, 900, (112, 112, 17)).astype(np.int16)
    nib.Nifti1Image(data, np.diag([1.0, 1.0, 5.0, 1.0])).to_filename(tmp_path / "scan.nii")
    return tmp_path / "scan.nii"


@pytest.mark.skipif(sys.platform != "linux", reason="sets a limit of Linux")
@pytest.mark.parametrize("model", ["linear", "cross-plane"])
@pytest.mark.parametrize(
    ("blind", "said"), [(False, "needs about"), (True, "out of memory on the CPU")]
)
def test_too_little_memory_is_two_lines_and_no_file(
    blind: bool, said: str, model: str, scan: Path, tmp_path: Path, start_process: StartProcess
) -> None:
    out, log = tmp_path / "out", tmp_path / "said.txt"
    room = {"linear": 12, "cross-plane": 48}[model] * 2**20

    process = start_process(
        CODE, log, room=room, model=model, scan=str(scan), out=str(out), blind=blind
    )
    process.join(120)

    told = log.read_text()
    errors = [line for line in told.splitlines() if line.startswith(("error", "hint"))]
    assert process.exitcode == 1, told
    assert "Traceback" not in told
    assert [line.split(":")[0] for line in errors] == ["error", "hint"], told
    assert "scan.nii" in errors[0]
    assert said in errors[0]
    assert not list(out.rglob("*.nii*"))


class Probe(Imputer):
    """Remembers the tile that it was given."""

    name = "probe"
    memory_estimate = MemoryEstimate(fixed=0, per_voxel=1, per_tile_voxel=100)
    tile = 0

    def tiled(self, tile: int) -> Imputer:
        self.tile = tile
        return self

    def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
        return Imputation(np.where(volume.observed, volume.data, np.float32(0)))


@pytest.mark.parametrize(("room", "tile"), [(2**40, 128), (30_000_000, 64), (5_000_000, 32)])
def test_tiles_shrink_until_they_fit(
    room: int, tile: int, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_module, "available_bytes", lambda device: room)
    probe = Probe()
    (job,) = plan_jobs([scan], tmp_path / "out")

    impute_scan(job, probe, Request(model="probe"), record=lambda _: {}, overwrite=False)

    assert probe.tile == tile


def test_a_scan_too_large_for_any_tile_is_refused_by_name(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_module, "available_bytes", lambda device: 1_000_000)
    (job,) = plan_jobs([scan], tmp_path / "out")

    with pytest.raises(ResourceError, match=r"scan.nii: needs about .* are free"):
        impute_scan(job, Probe(), Request(model="probe"), record=lambda _: {}, overwrite=False)

    assert not (tmp_path / "out").exists()


def test_a_slip_in_the_spacing_does_not_take_all_memory(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target_grid, "available_bytes", lambda device: 10**9)
    (job,) = plan_jobs([scan], tmp_path / "out")
    request = Request(model="probe", spacing_mm=0.0025)  # 32,001 slices

    with pytest.raises(ResourceError, match=r"scan.nii: needs about 1.9 GiB"):
        impute_scan(job, Probe(), request, record=lambda _: {}, overwrite=False)
