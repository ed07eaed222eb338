"""The two runs of the supervised yardstick, which differ in the lines that they learn from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from mriimpute.cohort import Cache
from mriimpute.cohort.slices import gaps_of, read_slices
from mriimpute.errors import ConfigError
from mriimpute.methods.cross_plane.examples import read_lines
from mriimpute.methods.cross_plane.learner import finished, learn_lines
from mriimpute.papers._simulation import Simulation
from mriimpute.progress import silent
from mriimpute.train import train
from mriimpute.train.fit import fingerprint
from mriimpute.train.run_folder import RunFolder
from mriimpute.train.settings import LineSettings, read, resolve
from mriimpute.train.stop import Stop

__all__ = ["Network", "learn", "with_own_gaps"]

Network: TypeAlias = Literal["unsupervised", "supervised"]
Settings: TypeAlias = Mapping[str, Any]


def learn(
    network: Network, sim: Simulation, run: Path, settings: Settings, *, seed: int, device: str
) -> Path:
    """Returns the model file of a run, which is begun, gone on with, or finished.

    Args:
        network: "unsupervised" opens no truth; "supervised" opens that of the train subjects.
        sim: The cohort.
        run: Where the run lives.
        settings: Tables of the cross-plane network, the same for both.
        seed: Of the run.
        device: Torch device.

    Raises:
        KeyboardInterrupt: After a Ctrl-C, once the checkpoint is written.
    """
    own = with_own_gaps(settings, sim)
    if network == "supervised":
        return _learn_from_truth(sim, run, own, seed=seed, device=device)
    return train(sim.folder, run, own, seed=seed, device=device, max_minutes=None, track=silent)


def with_own_gaps(settings: Settings, sim: Simulation) -> dict[str, Any]:
    """Returns the settings with no other gaps than those between the slices to learn from.

    Raises:
        ConfigError: If there are no gaps.
    """
    found = [scan for path in sim.scans().train if (scan := read_slices(path))]
    gaps = gaps_of(found)
    if not gaps:
        raise ConfigError(
            f"{sim.folder} has no stack of slices without holes to learn from",
            hint="simulate slices, not scattered voxels",
        )
    lines = {**settings.get("lines", {}), "gaps": gaps, "own_gap": 1.0}
    return {**settings, "lines": lines}


def _learn_from_truth(
    sim: Simulation, run: Path, settings: Settings, *, seed: int, device: str
) -> Path:
    """Does as `mriimpute train`, but with true planes in place of acquired slices."""
    chosen, complete = read(settings, seed=seed), resolve(settings, seed=seed)
    if not isinstance(chosen, LineSettings):
        raise ValueError(f"settings must be of the cross-plane network, got {chosen.name}")
    folder = RunFolder(run)
    folder.open(complete, overwrite=False)
    planes, truths = sim.true_planes(), sim.truths()
    identity = {
        **complete,
        "cohort": fingerprint(truths),
        "scans": len(truths),
        "scans_left_out": 0,
    }
    if finished(folder, chosen, identity):
        return folder.model

    cache = Cache(folder.cache)
    _, watch = read_lines(sim.scans(), chosen, cache)
    with Stop(None) as stop:
        done = learn_lines(
            planes, watch, folder, chosen, identity, device=device, stop=stop, track=silent
        )
    if not done:
        raise KeyboardInterrupt
    cache.remove()
    return folder.model
