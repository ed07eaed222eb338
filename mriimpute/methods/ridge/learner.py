"""`cross-plane-ridge` is not iterated: one pass over the cohort adds up all it needs."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mriimpute.checkpoint import understood
from mriimpute.cohort import fine_volume, observed_beside
from mriimpute.cohort.stack import intensity_range, pixel_steps, slices_of
from mriimpute.config import parse
from mriimpute.errors import TrainingError
from mriimpute.geometry import find_stack
from mriimpute.io import read_scan
from mriimpute.methods.ridge.moments import Config, Moments, moments_of_slices, packed, unpacked
from mriimpute.progress import Track
from mriimpute.train.run_folder import RunFolder
from mriimpute.train.settings import Settings
from mriimpute.train.stop import Stop

__all__ = ["accumulate"]

log = logging.getLogger(__name__)


def accumulate(
    scans: Sequence[Path],
    folder: RunFolder,
    settings: Settings,
    identity: Mapping[str, Any],
    *,
    stop: Stop,
    track: Track,
) -> bool:
    """Adds the moments of each scan, or goes on adding, and tells whether it is finished.

    Args:
        scans: To learn from.
        folder: Where the run lives.
        settings: Of the run.
        identity: What the checkpoint and the model file say about the run.
        stop: When to stop early.
        track: Shows progress.

    Raises:
        TrainingError: If no scan is a slice stack to learn from.
    """
    config = parse(Config, settings.model, where="model")
    moments: dict[int, Moments] = {}
    done = 0
    if saved := folder.saved(identity):
        tensors, numbers = saved
        with understood(folder.checkpoint):
            moments = unpacked({key: tensor.numpy() for key, tensor in tensors.items()})
            done = int(numbers["step"])
    if done == len(scans):
        log.info("%s is finished: %d scans", folder.path, done)
        return True
    folder.rewind("scans_seen", done)

    begun = time.monotonic()
    for path in track(scans[done:], total=len(scans) - done, label="adding up scans"):
        for gap, more in moments_of(path, config).items():
            moments[gap] = moments[gap] + more if gap in moments else more
        done += 1

        folder.append(
            {
                "scans_seen": done,
                "pixels": {str(gap): int(m.count.sum()) for gap, m in sorted(moments.items())},
                "seconds": round(time.monotonic() - begun, 3),
            }
        )
        if done == len(scans) and not any(m.count.any() for m in moments.values()):
            raise TrainingError(
                "no scan of the cohort is a stack of slices without holes, large enough to hide "
                "lines in, and with gaps between them",
                hint="train another --model, which takes any pattern of missing voxels",
            )
        sums = packed(moments)
        folder.save(sums, sums, identity, {"step": done})
        if stop.wanted:
            break

    return done == len(scans)


def moments_of(path: Path, config: Config) -> dict[int, Moments]:
    """Returns what one scan teaches, by size of its gaps in voxels."""
    volume = fine_volume(read_scan(path, observed=observed_beside(path))).volume
    stack = find_stack(volume.observed)
    if stack is None:
        log.warning("%s is no stack of slices and is left out", path.name)
        return {}

    slices = slices_of(volume, stack)
    whole = slices[np.isfinite(slices).all(axis=(1, 2))]
    scale, steps = intensity_range(volume), pixel_steps(volume, stack.axis)
    return {
        gap: moments_of_slices(whole, gap, scale, config, steps=steps)
        for gap in sorted({gap for gap in stack.gaps if gap > 1})
    }
