"""Which scans of a cohort can be read: found out before hours of training, not after."""

import logging
from collections.abc import Callable
from pathlib import Path

from mriimpute.data import Cohort, fine_volume, observed_beside
from mriimpute.errors import MriImputeError, VolumeError
from mriimpute.io import read_scan
from mriimpute.progress import Track

__all__ = ["readable"]


def readable(
    scans: Cohort, *, on_failure: Callable[[Path, MriImputeError], None] | None, track: Track
) -> tuple[Cohort, tuple[Path, ...]]:
    """Returns the scans that can be learnt from, and those that cannot.

    Args:
        scans: To read, one at a time; none is kept.
        on_failure: Told of every scan that cannot be read; None: the first one is an error.
        track: Shows progress.

    Raises:
        VolumeError: If a scan cannot be read and `on_failure` is None, or if none can.
    """
    broken = []
    every = (*scans.train, *scans.val)
    for path in track(every, total=len(every), label="checking scans"):
        try:
            _read(path)
        except MriImputeError as error:
            alone = (path,) == scans.train  # its own error says more than that none is left
            if on_failure is None or alone:
                raise
            on_failure(path, error)
            broken.append(path)

    train, val = ([p for p in part if p not in broken] for part in (scans.train, scans.val))
    kept = Cohort(tuple(train), tuple(val))
    if not kept.train:
        raise VolumeError(
            f"none of the {len(scans.train)} scans to learn from can be read",
            hint="repair the scans named above, or pass another cohort",
        )
    return kept, tuple(broken)


def _read(path: Path) -> None:
    # What is odd about a scan is said when it is learnt from: twice would be noise.
    talk = logging.getLogger("mriimpute")
    level = talk.level
    talk.setLevel(logging.ERROR)
    try:
        fine_volume(read_scan(path, observed=observed_beside(path)))
    finally:
        talk.setLevel(level)
