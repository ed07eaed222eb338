"""The training loop: it resumes, reports, saves and stops, whatever is learnt."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from mriimpute.cohort import Cache, Cohort, prefetched
from mriimpute.distributed import ALONE, World
from mriimpute.methods.base import Learner
from mriimpute.progress import Track
from mriimpute.training.folder import RunFolder
from mriimpute.training.stop import Stop

__all__ = ["learn"]

log = logging.getLogger(__name__)


def learn(
    learner: Learner,
    scans: Cohort,
    cache: Cache,
    folder: RunFolder,
    identity: Mapping[str, Any],
    *,
    stop: Stop,
    track: Track,
    world: World = ALONE,
) -> bool:
    """Takes the steps of a run, or those that are left, and tells whether it is finished.

    Args:
        learner: At the beginning of the run.
        scans: To learn from and to validate on.
        cache: Has the scans, or they are read now.
        folder: Where the run lives.
        identity: What the checkpoint and the model file say about the run.
        stop: When to stop early.
        track: Shows progress.
        world: The processes that share the steps.

    Raises:
        ConfigError: If the checkpoint is of another run.
        TrainingError: If there is nothing to learn from, or a loss is not finite.
    """
    identity, steps = {**identity, **learner.identity}, learner.steps(scans)
    saved = folder.saved(identity)
    if saved:
        learner.load(*saved, folder.checkpoint)
    done, unit, units = learner.done, learner.unit, learner.units
    if done >= steps or learner.settled:
        log.info("%s is finished: %d %s", folder.path, done * units, unit)
        return True
    if done:
        log.info("going on after %d of %d %s", done * units, steps * units, unit)
    learner.prepare(scans, cache)
    first = None if done else learner.begin()
    folder.begin()  # the run can begin: now, and not before, an earlier one is overwritten
    folder.rewind(learner.counter, done * units if saved else -1)
    if first:
        folder.append(first)

    left = range(done, steps)
    begun = saved_at = time.monotonic()
    settled = False
    for step, batch in track(
        prefetched(learner.batch, left),
        total=len(left),
        label=learner.label,
        seconds=stop.seconds,
    ):
        learner.step(step, batch)
        learner.done = step + 1
        last = learner.done >= steps
        if last or learner.is_reported():
            line = learner.report(time.monotonic() - begun)
            line.setdefault(learner.counter, learner.done * units)
            folder.append(line)
            settled = world.any(learner.settled)  # the main process alone validates
            if settled and not last:
                log.info("validation finds no more to gain: ending early")

        # Asked once, and acted on after saving: otherwise a stop could lose what was learnt.
        stopping = world.any(stop.wanted)
        if last or settled or stopping or time.monotonic() - saved_at >= 60 * learner.save_minutes:
            folder.save(learner.model(), learner.tensors(), identity, learner.numbers())
            saved_at = time.monotonic()
        if settled or stopping:
            break

    return settled or learner.done >= steps
