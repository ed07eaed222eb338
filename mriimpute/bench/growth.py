"""How time and memory grow: with the volume, with draws, with the cohort.

A power law, cost = a size^b, is a straight line of logarithms; b is its slope by least squares,
with the standard error of that slope. Memory is that beyond the interpreter and the libraries.
"""

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mriimpute.bench.phantom import TINY, Shape, fine_shape, sparse_head, write_head
from mriimpute.bench.timing import Memory, resident_bytes, settled
from mriimpute.cohort import Cache, Cohort
from mriimpute.methods.registry import DEFAULT, load_imputer
from mriimpute.train.run import build
from mriimpute.train.settings import preset, read

__all__ = [
    "Growth",
    "Point",
    "PowerLaw",
    "cohort_point",
    "draws_point",
    "power_law",
    "scaled",
    "size_point",
    "write_cohort",
]


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """A line through logarithms.

    Attributes:
        exponent: Its slope.
        error: Standard error of the slope; NaN with two points.
    """

    exponent: float
    error: float


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement of a curve.

    Attributes:
        size: What grows: voxels, draws or scans.
        seconds: That it took.
        memory: Of a process that did nothing else.
    """

    size: float
    seconds: float
    memory: Memory


@dataclass(frozen=True, slots=True)
class Growth:
    """A curve.

    Attributes:
        name: What grows.
        unit: Of its size.
        points: In order of size; at least two.
    """

    name: str
    unit: str
    points: tuple[Point, ...]

    @property
    def time(self) -> PowerLaw:
        """How time grows."""
        return power_law([p.size for p in self.points], [p.seconds for p in self.points])

    @property
    def memory(self) -> PowerLaw:
        """How memory grows."""
        return power_law([p.size for p in self.points], [self.held(p) for p in self.points])

    def held(self, point: Point) -> float:
        """Returns the bytes of a point: on the GPU where one computes, else of main memory."""
        return float(max(point.memory.gpu_peak or point.memory.work, 1))


def power_law(sizes: Sequence[float], costs: Sequence[float]) -> PowerLaw:
    """Returns the exponent of costs that grow as a power of sizes.

    Args:
        sizes: Positive; at least two of them differ.
        costs: Positive.

    Example:
        >>> round(power_law([1.0, 2.0, 4.0], [3.0, 12.0, 48.0]).exponent, 6)
        2.0
    """
    x, y = np.log(np.asarray(sizes, float)), np.log(np.asarray(costs, float))
    x, y = x - x.mean(), y - y.mean()
    spread = float(x @ x)
    if spread == 0:
        raise ValueError("sizes must differ")
    slope = float(x @ y) / spread
    free = len(x) - 2
    residual = float(np.square(y - slope * x).sum())
    error = math.sqrt(residual / free / spread) if free > 0 else math.nan
    return PowerLaw(slope, error)


def scaled(wanted: Shape, share: float) -> Shape:
    """Returns a grid of the same proportions with about that share of the voxels."""
    edge = share ** (1 / 3)
    i, j, k = (max(13, round(edge * size)) for size in wanted)
    return i, j, k


def size_point(wanted: Shape, device: str) -> Point:
    """Returns what the mean of the default model costs on a grid."""
    before = resident_bytes()
    imputer = load_imputer(DEFAULT, device=device)
    settle = settled(device)
    with torch.inference_mode():
        imputer.impute(sparse_head(TINY), seed=0, case="bench")
        volume = sparse_head(wanted)
        settle()
        begun = time.perf_counter()
        imputer.impute(volume, seed=0, case="bench")
        settle()
    seconds = time.perf_counter() - begun
    voxels = float(np.prod(fine_shape(wanted)))
    return Point(voxels, seconds, Memory.since(before, device))


def draws_point(wanted: Shape, device: str, draws: int) -> Point:
    """Returns what so many draws cost after the mean; one is in memory at a time."""
    before = resident_bytes()
    imputer = load_imputer(DEFAULT, device=device)
    settle = settled(device)
    volume = sparse_head(wanted)
    with torch.inference_mode():
        found = imputer.impute(volume, seed=0, case="bench")
        if found.draw is None:
            raise ValueError(f"{DEFAULT} must give draws")
        settle()
        begun = time.perf_counter()
        for number in range(1, draws + 1):
            found.draw(number)
        settle()
    return Point(float(draws), time.perf_counter() - begun, Memory.since(before, device))


def write_cohort(folder: Path, wanted: Shape, scans: int) -> list[Path]:
    """Writes so many made-up scans and returns their files."""
    paths = [folder / f"sub-{number:03d}.nii.gz" for number in range(scans)]
    for number, path in enumerate(paths):
        write_head(path, wanted, seed=number)
    return paths


def cohort_point(wanted: Shape, scans: int) -> Point:
    """Returns what it costs to load a cohort that the default model is to learn from."""
    learner, other = (build(read(preset(DEFAULT), seed=0), device="cpu") for _ in range(2))
    with tempfile.TemporaryDirectory(prefix="mriimpute-bench-") as folder:
        # The one that is watched is there in every cohort: it must not count as growth.
        watched, *paths = write_cohort(Path(folder), wanted, scans + 1)
        cache = Cache(Path(folder) / "cache")
        other.prepare(Cohort((watched,), (watched,)), cache)  # libraries are loaded now
        before = resident_bytes()
        begun = time.perf_counter()
        learner.prepare(Cohort(tuple(paths), (watched,)), cache)
        seconds = time.perf_counter() - begun
        held = resident_bytes()
    return Point(float(scans), seconds, Memory(held, before))
