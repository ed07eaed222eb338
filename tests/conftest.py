"""Shared fixtures: every random number in a test comes from `generator` or `rng`.

Streams are named after the test, not after its file: a test that moves stays the same test.
"""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import is_dataclass
from functools import cache, partial, wraps
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, get_args

import jaxtyping
import nibabel as nib
import numpy as np
import pytest
import torch
from beartype import BeartypeConf, beartype
from hypothesis import settings
from scipy import ndimage

from mriimpute.checkpoint import save
from mriimpute.methods.cross_plane.network import Config, build
from mriimpute.seeds import fixed, numpy_stream, stream

# Tensors of tests are tiny: threads that wait for each other take longer than one of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of other processes
os.environ.pop("COLUMNS", None)  # a test that needs a width says so
# Compiling all modules takes ten seconds in each process, unless it is kept from run to run.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

settings.register_profile("quick", max_examples=25, deadline=None, derandomize=True)
settings.load_profile("quick")

Decorator = Callable[[Any], Any]


plain = beartype(conf=BeartypeConf(violation_type=TypeError))  # as shapes are


def has_shapes(annotation: Any) -> bool:
    """Tells whether an annotation names the shape of an array anywhere, or may: it is a name."""
    if isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray):
        return True
    return isinstance(annotation, str) or any(map(has_shapes, get_args(annotation)))


def checked(decorate: Callable[..., Decorator], **options: Any) -> Decorator:
    """Returns what makes a function check its shapes, unless it is defined inside of another one.

    That would be compiled anew in each call of the outer one, which takes 10 ms: half the time
    of a training step. All others are compiled when they are first called: there are 2,000. Those
    without shapes have their types checked alone, which is ten times as fast.
    """

    def check(made: Callable[..., Any]) -> Any:
        shapes = any(map(has_shapes, made.__annotations__.values()))
        return decorate(**options)(made) if shapes else plain(made)

    def when_called(made: Callable[..., Any]) -> Callable[..., Any]:
        compiled = cache(lambda: check(made))
        return wraps(made)(lambda *args, **named: compiled()(*args, **named))

    def decorated(made: Any) -> Any:
        if "<locals>" in made.__qualname__:
            return made
        if not isinstance(made, type):
            return when_called(made)
        if is_dataclass(made) and "__init__" in vars(made):
            made.__init__ = when_called(made.__init__)  # type: ignore[misc]
        return made

    return decorated


jaxtyping.jaxtyped = partial(checked, jaxtyping.jaxtyped)  # what `--jaxtyping-packages` adds


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Makes what a test printed fit to travel between processes: names may be no UTF-8."""
    report = yield
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
    ]
    return report


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """What tests write need not outlive a power failure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True)
def parameters(request: pytest.FixtureRequest) -> Iterator[None]:
    """Initial parameters of a model do not depend on the tests before."""
    with fixed(0, "parameters", request.node.name):
        yield


@pytest.fixture
def generator(request: pytest.FixtureRequest) -> torch.Generator:
    return stream(0, request.node.name)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    return numpy_stream(0, request.node.name)


LIBRARIES = [
    "mriimpute.cli",
    "mriimpute.evaluation",
    "mriimpute.imputation.batch",
    "mriimpute.methods.cross_plane.imputer",
    "mriimpute.methods.ridge.imputer",
    "mriimpute.methods.patches.models.tae",
    "mriimpute.papers.dalca.fig4",
    "mriimpute.simulation",
    "mriimpute.training.run",
    "pytest",  # every process looks into the file that was started
    "scipy.interpolate",
    "torch._dynamo",  # the optimisers want it
    "torch.distributed",
]


@pytest.fixture(params=[80, 100])
def columns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Characters in a line of the terminal."""
    monkeypatch.setenv("COLUMNS", str(request.param))
    return int(request.param)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Lets Ctrl-C interrupt this process and those it starts, as in a terminal.

    It is ignored by whatever a shell without job control puts into the background, and whoever is
    started there inherits that.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def loaded() -> BaseContext:
    """Starts processes from one that has loaded the libraries, which takes seconds each time.

    They are as empty as spawned ones, and compute with one thread.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    multiprocessing.set_forkserver_preload(LIBRARIES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        forkserver.ensure_running()
    return multiprocessing.get_context("forkserver")


@pytest.fixture
def quick_processes(loaded: BaseContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the package start its processes like that; where it matters they are spawned."""
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: loaded)


StartProcess = Callable[..., BaseProcess]

SAYING = """
import os
for stream in (1, 2):
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
"""


@pytest.fixture
def start_process(loaded: BaseContext) -> StartProcess:
    """Returns a function that starts code in a process of its own.

    What it says goes to `log`; the code knows all else that is given by its name.
    """

    def begun(code: str, log: Path, **known: Any) -> BaseProcess:
        known = {**known, "log": str(log)}
        process = loaded.Process(target=exec, args=(SAYING + code, known), daemon=True)
        process.start()
        return process

    return begun


@pytest.fixture
def killed(tmp_path: Path) -> Callable[[str, int], list[str]]:
    """Returns a function that kills a script, when it has said so many lines, and returns them.

    It waits for all that can write where the script does, hence for the processes it has begun.
    """
    if not hasattr(signal, "SIGKILL"):
        pytest.skip("no SIGKILL here")

    def run(script: str, lines: int) -> list[str]:
        path = tmp_path / "killed.py"
        path.write_text(script)
        command = [sys.executable, path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:  # noqa: S603
            assert parent.stdout is not None
            said = [parent.stdout.readline() for _ in range(lines)]
            parent.kill()
            parent.communicate(timeout=20)
        return said

    return run


@pytest.fixture(scope="session")
def made_up_heads() -> Callable[[Path, int], None]:
    """Returns a function that fills a folder with heads of 8 mm voxels: textured balls in air."""

    def write(folder: Path, count: int) -> None:
        rng = np.random.default_rng(0)
        distance = np.linalg.norm(np.indices((24, 28, 22)).T - [11.5, 13.5, 10.5], axis=-1).T
        for number in range(1, count + 1):
            texture = ndimage.gaussian_filter(rng.normal(size=distance.shape), 1.2)
            head = np.where(distance < 9, 500 + 600 * texture, 0).astype(np.float32)
            path = folder / f"sub-{number:02d}" / "anat" / f"sub-{number:02d}_T1w.nii"
            path.parent.mkdir(parents=True)
            nib.save(nib.Nifti1Image(head, np.diag([8.0, 8, 8, 1])), path)

    return write


Settings = dict[str, Any]
Package = Callable[..., Path]


def write_scan(path: Path, seed: int) -> None:
    """Writes smooth blobs, slices three voxels apart along k."""
    generator = numpy_stream(seed, "scan")
    coarse = generator.random((5, 5, 3))
    data = 400 * np.kron(coarse, np.ones((3, 3, 2))) + 5 * generator.standard_normal((15, 15, 6))
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data.astype(np.float32), np.diag([1.0, 1.0, 3.0, 1.0])), path)


@pytest.fixture
def sim(tmp_path: Path) -> Path:
    """What simulate writes: sparse scans of four subjects, and truth that nobody may open."""
    root = tmp_path / "sim"
    rows = ["participant_id\tsplit"]
    for n, split in enumerate(["train", "train", "val", "test"]):
        rows.append(f"sub-{n}\t{split}")
        write_scan(root / "cohort" / f"sub-{n}" / "anat" / f"sub-{n}_T1w.nii.gz", n)
        truth = root / "truth" / f"sub-{n}" / "anat" / f"sub-{n}_T1w.nii.gz"
        truth.parent.mkdir(parents=True)
        truth.write_text("whoever opens this fails")
    (root / "cohort" / "participants.tsv").write_text("\n".join(rows) + "\n")
    (root / "cohort" / "sub-3" / "anat" / "sub-3_T1w.nii.gz").write_text("a test scan")
    return root


@pytest.fixture
def settings() -> Settings:
    return {
        "name": "ppca",
        "model": {"patch": [4, 4, 4], "latents": 3},
        "train": {
            "objective": "evidence",
            "noise": "learnt",
            "patches": 80,
            "batch": 4,
            "rate": 0.01,
            "report": 20,
            "val_patches": 8,
        },
    }


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Puts weights of a tiny network into the package; as they begin, they interpolate."""

    def arrange(*, seed: int = 7, channels: int = 4) -> Path:
        size = {"channels": channels, "blocks": 1, "hidden": channels}
        network = build(Config(**size), seed=seed)
        tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
        tensors |= {f"factor.{gap}": np.full(gap - 1, 1.5, np.float32) for gap in (2, 5)}
        path = tmp_path / "weights" / f"{seed}.safetensors"
        save(path, tensors, {"name": "cross-plane", "model": size})
        monkeypatch.setattr("mriimpute.methods.cross_plane.weights.shipped", lambda name: path)
        return path

    return arrange


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the next run wish to stop after so many steps, as Ctrl-C would."""

    def arrange(steps: int, *, interrupted: bool = True) -> None:
        left = iter([False] * (steps - 1) + [True])

        def wanted(stop: Any) -> bool:
            wish = next(left, True)
            stop.interrupted = wish and interrupted
            return wish

        monkeypatch.setattr("mriimpute.training.stop.Stop.wanted", property(wanted))

    return arrange


def pytest_collection_finish() -> None:
    """Spares the garbage collector what stays to the end: half a million parts of libraries."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what needs a GPU where there is none, so that `-m gpu` says so and does not fail."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
