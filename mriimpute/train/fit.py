"""Training as users know it: a cohort and settings in, a run folder out."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mriimpute.data import cohort, observed_beside
from mriimpute.data.cohort import sparse_scans
from mriimpute.errors import MriImputeError
from mriimpute.files import refuse_inside
from mriimpute.io import checksum
from mriimpute.progress import Track
from mriimpute.train.closed_form import accumulate
from mriimpute.train.cross_plane import finished, learn_lines
from mriimpute.train.expectation import maximise
from mriimpute.train.folder import RunFolder
from mriimpute.train.lines import read_lines
from mriimpute.train.loop import learn
from mriimpute.train.reading import readable
from mriimpute.train.settings import CLOSED_FORM, EmSettings, LineSettings, read, resolve
from mriimpute.train.stop import Stop
from mriimpute.train.weights import start_of

__all__ = ["train"]

log = logging.getLogger(__name__)


def train(
    source: Path,
    run: Path,
    settings: Mapping[str, Any],
    *,
    seed: int,
    device: str,
    max_minutes: float | None,
    track: Track,
    overwrite: bool = False,
    on_failure: Callable[[Path, MriImputeError], None] | None = None,
) -> Path:
    """Fits a model to the sparse scans of a cohort and returns the file that `impute` loads.

    A run that was stopped goes on from its checkpoint when called again with the same arguments,
    and ends, on the CPU, with the same bytes as one that never stopped.

    Args:
        source: A scan, a folder, a BIDS tree, or what `mriimpute simulate` wrote.
        run: The run folder.
        settings: Tables as in a preset; see `resolve`.
        seed: Of the run.
        device: Torch device.
        max_minutes: Stop after so long, with a model of what was learnt; None for no limit.
        track: Shows progress.
        overwrite: Begin anew where the folder holds a run.
        on_failure: Told of every scan that cannot be read, before training starts without it.
            None: the first one is an error.

    Raises:
        ConfigError: If settings are wrong, or the folder holds a run with other ones.
        OutputError: If the run folder lies in the cohort, holds something else, or cannot be
            written.
        TrainingError: If the loss or its gradient is not finite.
        VolumeError: If a scan cannot be read and `on_failure` is None, or none can.
        KeyboardInterrupt: After a Ctrl-C, once the checkpoint is written.
    """
    chosen = read(settings, seed=seed)
    if isinstance(chosen, LineSettings):
        start_of(chosen)  # it fails now, or after all scans were read
    refuse_inside(run, sparse_scans(source))
    found = cohort(source)
    complete = resolve(settings, seed=seed)
    folder = RunFolder(run)
    folder.open(complete, overwrite=overwrite)
    scans, left_out = readable(found, on_failure=on_failure, track=track)
    folder.note_unreadable([path.name for path in left_out])
    identity = {
        **complete,
        "cohort": fingerprint(scans.train),
        "scans": len(scans.train),
        "scans_left_out": len(left_out),
    }

    with Stop(max_minutes) as stop:
        if isinstance(chosen, LineSettings):
            done = finished(folder, chosen, identity)
            if not done:
                lines = read_lines(scans, chosen, track)
                done = learn_lines(
                    *lines, folder, chosen, identity, device=device, stop=stop, track=track
                )
        elif isinstance(chosen, EmSettings):
            done = maximise(scans, folder, chosen, identity, device=device, stop=stop, track=track)
        elif chosen.name == CLOSED_FORM:
            done = accumulate(scans.train, folder, chosen, identity, stop=stop, track=track)
        else:
            done = learn(scans, folder, chosen, identity, device=device, stop=stop, track=track)

    if stop.interrupted and not done:
        log.info("stopped: run the same command to go on")
        raise KeyboardInterrupt
    if not done:
        log.info("time is up: run the same command to go on")
    return folder.model


def fingerprint(scans: Sequence[Path]) -> str:
    """Returns a checksum of what the scans, and observed images beside them, hold.

    Where they lie does not matter.
    """
    files = [file for scan in scans for file in (scan, observed_beside(scan)) if file is not None]
    lines = "\n".join(f"{checksum(path)}  {path.name}" for path in files)
    return hashlib.sha256(lines.encode()).hexdigest()
