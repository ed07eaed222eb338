"""Fills a cache with the scans of a cohort, by several processes where that is asked for."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, assert_never

from mriimpute.cohort.cache import Cache
from mriimpute.cohort.normalisation import require_contrast
from mriimpute.cohort.slices import has_room, is_shown
from mriimpute.cohort.split import observed_beside
from mriimpute.cohort.target_grid import to_target_grid
from mriimpute.errors import MriImputeError
from mriimpute.io import read_scan
from mriimpute.workers import killed_worker, run_tasks

__all__ = ["Task", "preprocess", "preprocessed"]


@dataclass(frozen=True, slots=True)
class Task:
    """What is wanted of a scan.

    Attributes:
        path: Of the scan.
        kept: What of it: its acquired voxels, for patches; its slices; or nothing, where it only
            has to be found out whether it can be read.
        scales: Slices are also kept with pixels so many times as long, where they are large and
            fine enough for it.
    """

    path: Path
    kept: Literal["voxels", "slices", "nothing"] = "voxels"
    scales: tuple[float, ...] = ()


def preprocess(task: Task, cache: Cache) -> None:
    """Puts what is wanted of a scan into `cache`.

    Raises:
        OutputError: If that cannot be written.
        VolumeError: If the scan cannot be read, is blank, or nothing is missing in it.
    """
    match task.kept:
        case "voxels":
            cache.sparse(task.path)
        case "slices":
            scan = cache.slices(task.path)
            if scan is not None and has_room(scan):
                for scale in (scale for scale in task.scales if is_shown(scan, scale)):
                    cache.slices(task.path, scale)
        case "nothing":
            _try(task.path)
        case _ as unknown:
            assert_never(unknown)


def _try(path: Path) -> None:
    # What is odd about a scan is said when it is learnt from: twice would be noise.
    log = logging.getLogger("mriimpute")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        volume = to_target_grid(read_scan(path, observed=observed_beside(path))).volume
        require_contrast(volume, path.name)
    finally:
        log.setLevel(level)


def preprocessed(
    tasks: Sequence[Task], cache: Cache, *, jobs: int = 1
) -> Iterator[tuple[Task, MriImputeError | None]]:
    """Does all tasks and yields them in their order, each with what went wrong, if anything.

    Args:
        tasks: What is wanted.
        cache: Where to put it.
        jobs: Processes that work side by side; changes no byte.

    Raises:
        ResourceError: If one of them is killed.
    """
    if jobs == 1 or len(tasks) < 2:
        for task in tasks:
            yield task, _attempt(task, cache)
        return

    work, killed = partial(_attempt_in_worker, folder=cache.folder), killed_worker("read scans")
    for task, error in run_tasks(work, tasks, workers=jobs, killed=killed, ordered=True):
        if error is None and task.kept != "nothing":
            error = _attempt(task, cache)  # it only has to be found there
        yield task, error


def _attempt(task: Task, cache: Cache) -> MriImputeError | None:
    try:
        preprocess(task, cache)
    except MriImputeError as error:
        return error
    return None


def _attempt_in_worker(task: Task, folder: Path) -> MriImputeError | None:
    return _attempt(task, Cache(folder))
