"""Reads every scan of a cohort once, before hours of training and not after.

What training wants of a scan is preprocessed and kept in a cache; that is also how a scan is
found out that cannot be read.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from mriimpute.cohort import Cache, Cohort
from mriimpute.cohort.preprocess import Task, preprocessed
from mriimpute.errors import MriImputeError, OutputError, VolumeError
from mriimpute.progress import Track

__all__ = ["readable"]


def readable(
    scans: Cohort,
    tasks: Sequence[Task],
    cache: Cache,
    *,
    jobs: int = 1,
    on_failure: Callable[[Path, MriImputeError], None] | None,
    track: Track,
) -> tuple[Cohort, tuple[Path, ...]]:
    """Returns the scans that can be learnt from, and those that cannot.

    Args:
        scans: To read.
        tasks: What is wanted of each scan.
        cache: Gets that.
        jobs: Processes that read side by side.
        on_failure: Told of every scan that cannot be read; None: the first one is an error.
        track: Shows progress.

    Raises:
        OutputError: If what was read cannot be kept.
        VolumeError: If a scan cannot be read and `on_failure` is None, or if none can.
    """
    broken = set()
    outcomes = preprocessed(tasks, cache, jobs=jobs)
    for task, error in track(outcomes, total=len(tasks), label="reading scans"):
        path = task.path
        if error is None:
            continue
        alone = (path,) == scans.train  # its own error says more than that none is left
        if on_failure is None or alone or isinstance(error, OutputError):
            raise error
        on_failure(path, error)
        broken.add(path)

    train, val = ([p for p in part if p not in broken] for part in (scans.train, scans.val))
    kept = Cohort(tuple(train), tuple(val))
    if not kept.train:
        raise VolumeError(
            f"none of the {len(scans.train)} scans to learn from can be read",
            hint="repair the scans named above, or pass another cohort",
        )
    return kept, tuple(p for p in (*scans.train, *scans.val) if p in broken)
