"""Reads every scan of a cohort once, before hours of training and not after.

What training wants of a scan is preprocessed and kept in a cache; that is also how a scan is
found out that cannot be read.
"""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from mriimpute.cohort import Cache, Cohort, fine_volume, observed_beside
from mriimpute.cohort.preprocess import Task, preprocessed
from mriimpute.errors import MriImputeError, OutputError, VolumeError
from mriimpute.io import read_scan
from mriimpute.progress import Track
from mriimpute.train.settings import CLOSED_FORM, EmSettings, LineSettings, Settings

__all__ = ["readable"]

Outcome = tuple[Path, MriImputeError | None]


def readable(
    scans: Cohort,
    settings: Settings | EmSettings | LineSettings,
    cache: Cache,
    *,
    jobs: int = 1,
    on_failure: Callable[[Path, MriImputeError], None] | None,
    track: Track,
) -> tuple[Cohort, tuple[Path, ...]]:
    """Returns the scans that can be learnt from, and those that cannot.

    Args:
        scans: To read.
        settings: Of the run: what is wanted of each scan.
        cache: Gets that.
        jobs: Processes that read side by side.
        on_failure: Told of every scan that cannot be read; None: the first one is an error.
        track: Shows progress.

    Raises:
        OutputError: If what was read cannot be kept.
        VolumeError: If a scan cannot be read and `on_failure` is None, or if none can.
    """
    broken = set()
    outcomes = _outcomes(scans, settings, cache, jobs)
    total = len(scans.train) + len(scans.val)
    for path, error in track(outcomes, total=total, label="reading scans"):
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


def _outcomes(
    scans: Cohort,
    settings: Settings | EmSettings | LineSettings,
    cache: Cache,
    jobs: int,
) -> Iterator[Outcome]:
    """Reads each scan as a run with these settings wants it; yields what went wrong."""
    if settings.name == CLOSED_FORM:  # adds scans up one at a time, in full precision
        yield from ((path, _check(path)) for path in (*scans.train, *scans.val))
        return
    learnt = watched = None  # voxels for patches
    if isinstance(settings, LineSettings):
        learnt, watched = settings.lines.scales, ()
    tasks = [Task(path, learnt) for path in scans.train]
    tasks += [Task(path, watched) for path in scans.val]
    yield from ((task.path, error) for task, error in preprocessed(tasks, cache, jobs=jobs))


def _check(path: Path) -> MriImputeError | None:
    # What is odd about a scan is said when it is learnt from: twice would be noise.
    talk = logging.getLogger("mriimpute")
    level = talk.level
    talk.setLevel(logging.ERROR)
    try:
        fine_volume(read_scan(path, observed=observed_beside(path)))
    except MriImputeError as error:
        return error
    finally:
        talk.setLevel(level)
    return None
