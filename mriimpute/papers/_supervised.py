"""The two runs of the supervised yardstick, which differ in the lines that they learn from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from mriimpute.cohort import Cache, Cohort
from mriimpute.cohort.slices import SliceScan, gaps_of, read_slices
from mriimpute.errors import ConfigError
from mriimpute.methods.cross_plane.learner import LineLearner
from mriimpute.papers.simulation import Simulation
from mriimpute.progress import silent
from mriimpute.training import train
from mriimpute.training.folder import RunFolder
from mriimpute.training.loop import learn
from mriimpute.training.run import fingerprint
from mriimpute.training.settings import read, resolve
from mriimpute.training.stop import Stop

__all__ = ["Network", "train_network", "with_own_gaps"]

Network: TypeAlias = Literal["unsupervised", "supervised"]
Settings: TypeAlias = Mapping[str, Any]


def train_network(
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
    complete = resolve(settings, seed=seed)
    folder = RunFolder(run)
    folder.open(complete, overwrite=False)
    planes, truths = sim.true_planes(), sim.truths()
    identity = {
        **complete,
        "cohort": fingerprint(truths),
        "scans": len(truths),
        "scans_left_out": 0,
    }
    chosen = read(settings, seed=seed)
    learner = SupervisedLearner(chosen.name, seed=seed, device=device, **chosen.tables)
    learner.planes = planes
    cache = Cache(folder.cache)
    with Stop(None) as stop:
        done = learn(learner, sim.scans(), cache, folder, identity, stop=stop, track=silent)
    if not done:
        raise KeyboardInterrupt
    cache.remove()
    return folder.model


class SupervisedLearner(LineLearner):
    """Learns from true planes across the slices; it validates on hidden lines as ever."""

    planes: Sequence[SliceScan]

    def prepare(self, scans: Cohort, cache: Cache) -> None:
        """Takes the true planes in place of acquired slices."""
        super().prepare(scans, cache)
        self.scans = self.planes
        self.own_gaps = gaps_of(self.scans)
