"""Training as users know it: a cohort and settings in, a run folder out."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from mriimpute.cohort import Cache, Cohort, observed_beside
from mriimpute.cohort.split import cohort, sparse_scans
from mriimpute.distributed import ALONE, World
from mriimpute.errors import ConfigError, MriImputeError
from mriimpute.files import refuse_inside
from mriimpute.io import checksum
from mriimpute.methods.base import Learner
from mriimpute.methods.registry import learner_class
from mriimpute.optim.config import TrainingConfig
from mriimpute.progress import Track
from mriimpute.training.folder import RunFolder
from mriimpute.training.loop import learn
from mriimpute.training.reading import readable
from mriimpute.training.settings import Settings, read, resolve
from mriimpute.training.stop import Stop

__all__ = ["build", "fingerprint", "train"]

log = logging.getLogger(__name__)

Plan = tuple[Cohort, dict[str, Any]]

FEWEST = 2
"""Patches of a batch that a process takes at least, for the reason given at `TrainingConfig`."""


def train(
    source: Path,
    run: Path,
    settings: Mapping[str, Any],
    *,
    seed: int,
    device: str,
    max_minutes: float | None,
    track: Track,
    cache: Path | None = None,
    jobs: int = 1,
    overwrite: bool = False,
    on_failure: Callable[[Path, MriImputeError], None] | None = None,
    world: World = ALONE,
) -> Path:
    """Fits a model to the sparse scans of a cohort and returns the file that `impute` loads.

    A run that was stopped goes on from its checkpoint when called again with the same arguments,
    and ends, on the CPU, with the same bytes as one that never stopped.

    Args:
        source: A scan, a folder, a BIDS tree, or what `mriimpute simulate` wrote.
        run: The run folder.
        settings: Tables as in a preset; see `resolve`.
        seed: Names all random streams; from 0.
        device: "cpu" or "cuda:N".
        max_minutes: Stop after so long, with a model of what was learnt; None for no limit.
        track: Shows progress.
        cache: Folder for preprocessed scans, kept for other runs. None: one inside of the run
            folder, removed when the run is finished.
        jobs: Processes that read scans side by side before training starts; changes no byte.
        overwrite: Begin anew where the folder holds a run, which goes once the new one can begin.
        on_failure: Told of every scan that cannot be read, before training starts without it.
            None: the first one is an error.
        world: The processes that share the run, each of which calls this. The main one alone
            looks whether all is well, watches and writes. Where a model is not fitted by
            gradients, it does everything.

    Raises:
        ConfigError: If settings are wrong, or the folder holds a run with other ones.
        OutputError: If the run folder lies in the cohort, holds something else, is that of a
            training that is at work, or cannot be written.
        PeerError: If another process of `world` has ended.
        TrainingError: If the loss or its gradient is not finite.
        VolumeError: If a scan cannot be read and `on_failure` is None, or none can.
        KeyboardInterrupt: After a Ctrl-C, once the checkpoint is written.
    """
    kept = Cache(cache or RunFolder(run).cache)
    chosen = read(settings, seed=seed)
    with world.main_first():  # what is wrong with the settings it says alone
        _require_work(chosen, world)
        learner = build(chosen, device=device, world=world)
        if world.main:
            for place in (run, kept.folder):
                refuse_inside(place, sparse_scans(source))
    folder = RunFolder(run, world if learner.is_shared else ALONE)
    with _alone_in(folder, kept) if world.main else nullcontext():
        plan = None
        if world.main:  # alone; and the others begin once it has found all well
            plan = _prepared(
                source,
                folder,
                resolve(settings, seed=seed),
                learner,
                kept,
                jobs=jobs,
                overwrite=overwrite,
                on_failure=on_failure,
                track=track,
            )
        scans, identity = _passed(plan, world)
        with Stop(max_minutes, launched=world.size > 1) as stop:
            options: Any = {"stop": stop, "track": track}
            if learner.is_shared:
                done = learn(learner, scans, kept, folder, identity, world=world, **options)
            else:
                done = world.main and learn(learner, scans, kept, folder, identity, **options)
                done = json.loads(world.broadcast(json.dumps(done).encode())) is True

        world.dismiss()
        if world.main:
            _tell_gain(learner, folder, finished=done)
        if done and cache is None and world.main:
            kept.remove()
    if stop.interrupted and not done:
        raise KeyboardInterrupt
    if not done:
        log.info("time is up: run the same command to go on")
    return folder.model


@contextmanager
def _alone_in(folder: RunFolder, cache: Cache) -> Iterator[None]:
    """Keeps other trainings out of a run folder, and leaves no scans there of a failed visit.

    A run that was stopped keeps its scans in its folder. One that has none there any more is
    finished: where it turns out to be of another cohort, or reading its scans once more is
    stopped, nobody would remove them, and a face can be seen in them.
    """
    with folder.locked():
        is_visit = cache.folder == folder.cache and not cache.folder.exists()
        is_visit = is_visit and folder.checkpoint.is_file()
        try:
            yield
        except BaseException:
            if is_visit:
                cache.remove()
            raise


def _tell_gain(learner: Learner, folder: RunFolder, *, finished: bool) -> None:
    """Says what training gave so far, and notes it."""
    gain = learner.gain(folder.read_journal())
    if gain is None:
        return
    log.log(logging.INFO if gain.is_gain else logging.WARNING, "%s", gain.words)
    folder.note_gain(
        {
            "step": learner.done,
            "finished": finished,
            "is_gain": gain.is_gain,
            **gain.numbers,
            "words": gain.words,
        }
    )


def build(settings: Settings, *, device: str, world: World = ALONE) -> Learner:
    """Returns the learner of a run at its beginning.

    Args:
        settings: What decides what is learnt, next to the cohort.
        device: "cpu" or "cuda:N".
        world: The processes that share the run.

    Raises:
        CheckpointError: If weights to start from cannot be read.
        ConfigError: If the model cannot be built.
    """
    kind = learner_class(settings.name)
    return kind.build(
        settings.name, seed=settings.seed, device=device, world=world, **settings.tables
    )


def _require_work(settings: Settings, world: World) -> None:
    """Stops where there is too little work for all processes."""
    least = FEWEST * world.size
    train = settings.tables.get("train")
    if world.size > 1 and isinstance(train, TrainingConfig) and train.batch < least:
        raise ConfigError(
            f"train.batch is {train.batch}, too small for {world.size} processes, each of "
            f"which takes at least {FEWEST} of it",
            hint=f"pass --set train.batch={least}, or start fewer processes",
        )


def _prepared(
    source: Path,
    folder: RunFolder,
    settings: dict[str, Any],
    learner: Learner,
    cache: Cache,
    *,
    jobs: int,
    overwrite: bool,
    on_failure: Callable[[Path, MriImputeError], None] | None,
    track: Track,
) -> Plan:
    """Opens the run folder, reads all scans, and returns those to use and what the run is."""
    found = cohort(source)
    folder.open(settings, overwrite=overwrite)
    tasks = learner.tasks(found)
    scans, left_out = readable(found, tasks, cache, jobs=jobs, on_failure=on_failure, track=track)
    folder.left_out = [path.name for path in left_out]
    return scans, {
        **settings,
        "cohort": fingerprint(scans.train, cache.checksum),
        "validation": fingerprint(scans.val, cache.checksum),
        "scans": len(scans.train),
        "scans_left_out": len(left_out),
    }


def _passed(plan: Plan | None, world: World) -> Plan:
    """Returns the plan of the main process."""
    if world.size == 1 and plan:
        return plan
    message = b""
    if plan:
        scans, identity = plan
        paths = [list(map(str, part)) for part in (scans.train, scans.val)]
        message = json.dumps([*paths, identity]).encode()
    train, val, identity = json.loads(world.broadcast(message))
    return Cohort(tuple(map(Path, train)), tuple(map(Path, val))), identity


def fingerprint(scans: Sequence[Path], checksum: Callable[[Path], str] = checksum) -> str:
    """Returns a checksum of what the scans, and observed images beside them, hold.

    Args:
        scans: Where they lie does not matter.
        checksum: Of a file.
    """
    files = [file for scan in scans for file in (scan, observed_beside(scan)) if file is not None]
    lines = "\n".join(f"{checksum(path)}  {path.name}" for path in files)
    return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()
