"""How time and memory grow: with the volume, with draws, with the cohort.

A power law, cost = a size^b, is a straight line of logarithms; b is its slope by least squares,
with the standard error of that slope. Memory is that beyond the interpreter and the libraries.
"""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mriimpute.bench.phantom import TINY, Shape, sparse_head, write_head
from mriimpute.bench.timing import Memory, resident_bytes, timed
from mriimpute.cohort import Cache, Cohort
from mriimpute.methods.registry import DEFAULT, load_imputer
from mriimpute.training.run import build
from mriimpute.training.settings import preset, read

__all__ = [
    "Growth",
    "Point",
    "PowerLaw",
    "cohort_point",
    "draws_point",
    "power_law",
    "scaled",
    "size_point",
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
        return power_law([p.size for p in self.points], [self.bytes_of(p) for p in self.points])

    def bytes_of(self, point: Point) -> float:
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
    xx = float(x @ x)
    if xx == 0:
        raise ValueError("sizes must differ")
    slope = float(x @ y) / xx
    degrees_of_freedom = len(x) - 2
    if degrees_of_freedom == 0:
        return PowerLaw(slope, math.nan)
    residual = float(np.square(y - slope * x).sum())
    return PowerLaw(slope, math.sqrt(residual / degrees_of_freedom / xx))


def scaled(size: Shape, fraction: float) -> Shape:
    """Returns a grid of the same proportions with about that fraction of the voxels."""
    factor = fraction ** (1 / 3)
    i, j, k = (max(13, round(factor * edge)) for edge in size)
    return i, j, k


def size_point(size: Shape, device: str) -> Point:
    """Returns what the mean of the default model costs on a grid."""
    before = resident_bytes()
    imputer = load_imputer(DEFAULT, device=device)
    with torch.inference_mode():
        imputer.impute(sparse_head(TINY), seed=0, case="bench")
        volume = sparse_head(size)
        seconds = _seconds(lambda: imputer.impute(volume, seed=0, case="bench"), device)
    return Point(float(np.prod(volume.shape)), seconds, Memory.since(before, device))


def draws_point(size: Shape, device: str, draws: int) -> Point:
    """Returns what so many draws cost after the mean; one is in memory at a time."""
    before = resident_bytes()
    imputer = load_imputer(DEFAULT, device=device)
    with torch.inference_mode():
        draw = imputer.impute(sparse_head(size), seed=0, case="bench").draw
        if draw is None:
            raise ValueError(f"{DEFAULT} must give draws")

        def draw_all() -> None:
            for number in range(1, draws + 1):
                draw(number)

        seconds = _seconds(draw_all, device)
    return Point(float(draws), seconds, Memory.since(before, device))


def cohort_point(size: Shape, scans: int) -> Point:
    """Returns what it costs to load a cohort that the default model is to learn from."""
    learner, first = (build(read(preset(DEFAULT), seed=0), device="cpu") for _ in range(2))
    with tempfile.TemporaryDirectory(prefix="mriimpute-bench-") as folder:
        # The validation scan is there in every cohort: it must not count as growth.
        validation, *paths = _write_cohort(Path(folder), size, scans + 1)
        cache = Cache(Path(folder) / "cache")
        first.prepare(Cohort((validation,), (validation,)), cache)  # libraries are loaded now
        before = resident_bytes()
        cohort = Cohort(tuple(paths), (validation,))
        seconds = _seconds(lambda: learner.prepare(cohort, cache), "cpu")
        after = resident_bytes()
    return Point(float(scans), seconds, Memory(after, before))


def _seconds(work: Callable[[], object], device: str) -> float:
    return timed(work, repeats=1, device=device, warm_up=0).median


def _write_cohort(folder: Path, size: Shape, scans: int) -> list[Path]:
    paths = [folder / f"sub-{number:03d}.nii.gz" for number in range(scans)]
    for number, path in enumerate(paths):
        write_head(path, size, seed=number)
    return paths
