"""How much of the gain of full supervision is kept by learning from sparse scans alone.

Two networks have the same size, initial parameters, settings, seed and number of steps. One learns
from lines hidden inside the acquired slices of the train subjects, as `mriimpute train` does; the
other from the true planes that cross these slices, of which it sees lines as far apart as slices
are. Both are calibrated on lines hidden in slices of the val subjects, and impute the test
subjects with the same code.

A baseline for research, not a method: full scans are what users do not have. No other experiment,
and no other command, opens the truth of train subjects.

Errors are over the missing voxels of the brain between the first and the last acquired slice. A
gain is the PSNR minus that of the best interpolator, subject by subject.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from jaxtyping import Float64

from mriimpute import metrics
from mriimpute.cohort import Cache, Cohort
from mriimpute.cohort.slices import SliceScan, gaps_of, read_slices
from mriimpute.errors import ConfigError, VolumeError
from mriimpute.interpolation import Kind
from mriimpute.methods.base import Imputer
from mriimpute.methods.cross_plane.learner import LineLearner
from mriimpute.methods.registry import load_imputer
from mriimpute.metrics.statistics import Estimate, estimate, ratio_of_means
from mriimpute.papers.data import Data
from mriimpute.papers.experiment import (
    Bars,
    Budget,
    Cell,
    Claim,
    Conclusion,
    Lines,
    Outcome,
    Outcomes,
    Series,
    Table,
    Task,
)
from mriimpute.papers.simulation import Simulation, TestCase
from mriimpute.progress import silent
from mriimpute.training import train
from mriimpute.training.folder import RunFolder
from mriimpute.training.loop import learn
from mriimpute.training.run import fingerprint
from mriimpute.training.settings import read, resolve
from mriimpute.training.stop import Stop

__all__ = ["DATA", "SOURCE", "TITLE", "conclude", "perform", "tasks"]

TITLE = "Gain over interpolation without full scans to learn from, and with them"
SOURCE = "No paper: the supervised baseline of the cross-plane network, a research command"
DATA: tuple[str, ...] = ("simulation",)

Network: TypeAlias = Literal["unsupervised", "supervised"]
Gains: TypeAlias = Mapping[str, Float64[np.ndarray, " n"]]

INTERPOLATORS: tuple[str, ...] = get_args(Kind)
NETWORKS: tuple[Network, ...] = get_args(Network)
WANTED = 0.9  # fraction of the supervised gain

PLANS: dict[Budget, dict[str, Any]] = {
    "smoke": {
        "model": {"channels": 8, "blocks": 1, "hidden": 8},
        "train": {"patches": 64, "report": 64, "val_patches": 4},
    },
    "cpu": {
        "model": {"channels": 48, "blocks": 6, "hidden": 32},
        "train": {"patches": 20_000, "report": 4_000, "val_patches": 54},
    },
    "paper": {
        "model": {"channels": 96, "blocks": 8, "hidden": 48},
        "train": {"patches": 1_500_000, "batch": 16, "report": 50_000, "val_patches": 54},
    },
}
TRAIN: dict[str, Any] = {"batch": 4, "rate": 2e-3, "average": 0.999, "start": "scratch"}
SEED = 0  # of the bootstrap, for any run: an interval is a fact about the outcomes
LINES: dict[str, Any] = {"own_gap": 1.0, "thick": 0.0, "scales": [1.0]}


def tasks(budget: Budget, seed: int) -> list[Task]:
    """Returns one task per interpolator and network."""
    plan = PLANS[budget]
    network = {
        "name": "cross-plane",
        "model": plan["model"],
        "lines": LINES,
        "train": TRAIN | plan["train"],
    }
    interpolators = [Task(key=(name,), settings={"method": name}) for name in INTERPOLATORS]
    return interpolators + [
        Task(key=(name,), settings={"method": name, "network": network}) for name in NETWORKS
    ]


def perform(task: Task, data: Data, *, seed: int, device: str) -> Outcome:
    """Trains a network where it needs training, and scores what is made of the test subjects."""
    simulation, method = data.simulation(), task.settings["method"]
    name = method
    if method in NETWORKS:
        if data.runs is None:
            raise ValueError("data.runs must be a folder: a network needs a place to be kept")
        run, network = data.runs / method, task.settings["network"]
        name = str(train_network(method, simulation, run, network, seed=seed, device=device))
    imputer = load_imputer(name, device=device)
    scores = [_score(imputer, case, method, seed) for case in simulation.test_cases()]
    return Outcome({key: [score[key] for score in scores] for key in scores[0]})


def train_network(
    network: Network,
    simulation: Simulation,
    run: Path,
    settings: Mapping[str, Any],
    *,
    seed: int,
    device: str,
) -> Path:
    """Returns the model file of a run, which is begun, gone on with, or finished.

    The gaps to learn are those between the slices of the train subjects, and no others.

    Args:
        network: "unsupervised" opens no truth; "supervised" opens that of the train subjects.
        simulation: The sparse scans, and their truth.
        run: Folder of the run.
        settings: Tables of the cross-plane network, the same for both.
        seed: Of initial parameters and crops, the same for both.
        device: "cpu" or "cuda:N".

    Raises:
        ConfigError: If there are no gaps.
        KeyboardInterrupt: After a Ctrl-C, once the checkpoint is written.
    """
    gaps = gaps_of([s for path in simulation.scans().train if (s := read_slices(path))])
    if not gaps:
        raise ConfigError(
            f"{simulation.folder} has no stack of slices without holes to learn from",
            hint="simulate slices, not scattered voxels",
        )
    lines = {**settings.get("lines", {}), "gaps": gaps, "own_gap": 1.0}
    chosen = {**settings, "lines": lines}
    if network == "supervised":
        return _learn_from_truth(simulation, run, chosen, seed=seed, device=device)
    return train(
        simulation.folder, run, chosen, seed=seed, device=device, max_minutes=None, track=silent
    )


def _learn_from_truth(
    simulation: Simulation, run: Path, settings: Mapping[str, Any], *, seed: int, device: str
) -> Path:
    """Does as `mriimpute train`, but with true planes in place of acquired slices."""
    complete = resolve(settings, seed=seed)
    folder = RunFolder(run)
    with folder.locked():
        return _learnt(simulation, folder, settings, complete, seed=seed, device=device)


def _learnt(
    simulation: Simulation,
    folder: RunFolder,
    settings: Mapping[str, Any],
    complete: Mapping[str, Any],
    *,
    seed: int,
    device: str,
) -> Path:
    """Takes the steps of such a run."""
    folder.open(complete, overwrite=False)
    planes, truths = simulation.true_planes(), simulation.truths()
    sources = [*truths, *simulation.scans().train]  # truth is normalised as the scans are
    identity = {
        **complete,
        "cohort": fingerprint(sources),
        "validation": fingerprint(simulation.scans().val),
        "scans": len(truths),
        "scans_left_out": 0,
    }
    chosen = read(settings, seed=seed)
    learner = SupervisedLearner(chosen.name, seed=seed, device=device, **chosen.tables)
    learner.planes = planes
    cache = Cache(folder.cache)
    with Stop(None) as stop:
        done = learn(learner, simulation.scans(), cache, folder, identity, stop=stop, track=silent)
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


def _score(imputer: Imputer, case: TestCase, method: str, seed: int) -> dict[str, Any]:
    mean = imputer.impute(case.volume, seed=seed, case=case.name).mean
    truth, imputed = case.truth[case.region], mean[case.region]
    if not np.isfinite(imputed).all():
        raise VolumeError(
            f"{method} gives values that are not finite for {case.name}",
            hint="this is a fault of the method: report it",
        )
    peak = case.data_range
    return {
        "subject": case.subject,
        "scan": case.name,
        "psnr_db": metrics.psnr(truth, imputed, data_range=peak),
        "ssim": metrics.ssim(case.truth, mean, region=case.region, data_range=peak),
    }


def conclude(outcomes: Outcomes, budget: Budget) -> Conclusion:
    """Returns the gains of all methods, and whether enough is kept without supervision."""
    psnr = {name: _by_subject(o.numbers, "psnr_db") for (name,), o in outcomes.items()}
    ssim = {name: _by_subject(o.numbers, "ssim") for (name,), o in outcomes.items()}
    best = max(INTERPOLATORS, key=lambda name: float(psnr[name].mean()))
    gains = {name: values - psnr[best] for name, values in psnr.items()}

    columns = ["method", "PSNR (dB)", "gain (dB)", "from", "to", "SSIM", "gain in SSIM"]
    rows: list[list[Cell]] = [
        [
            name,
            float(psnr[name].mean()),
            *_cells(estimate(gains[name], SEED)),
            float(ssim[name].mean()),
            float((ssim[name] - ssim[best]).mean()),
        ]
        for name in psnr
    ]
    subjects = len(gains[best])
    title = f"Means over {subjects} test subjects; gains over {best}, 95 % bootstrap intervals"
    fraction = ratio_of_means(gains["unsupervised"], gains["supervised"], SEED)
    kept = Table(
        "Gain in PSNR kept without supervision", ["share", "from", "to"], [_cells(fraction)]
    )
    return Conclusion(
        [Table(title, columns, rows), kept],
        [_curves(gains, best), _bars(gains, best)],
        [_claim(gains, fraction, subjects)],
    )


def _by_subject(numbers: Mapping[str, Any], score: str) -> Float64[np.ndarray, " n"]:
    """Returns a score of each subject, averaged over its scans: it counts once."""
    scores: dict[str, list[float]] = {}
    for subject, value in zip(numbers["subject"], numbers[score], strict=True):
        scores.setdefault(subject, []).append(value)
    return np.array([np.mean(scores[subject]) for subject in sorted(scores)], np.float64)


def _cells(value: Estimate) -> list[Cell]:
    return [value.mean, value.low, value.high]


def _claim(gains: Gains, fraction: Estimate, subjects: int) -> Claim:
    """Judges by the lower end of the interval, or by the mean where there is none."""
    decisive = fraction.mean if np.isnan(fraction.low) else fraction.low
    unsupervised, supervised = (float(gains[name].mean()) for name in NETWORKS)
    interval = (
        "no interval"
        if np.isnan(fraction.low)
        else f"{_percent(fraction.low)} to {_percent(fraction.high)}"
    )
    kept = "no share" if np.isnan(fraction.mean) else f"{_percent(fraction.mean)} ({interval})"
    return Claim(
        f"without supervision at least {_percent(WANTED)} of the supervised gain is kept",
        bool(decisive >= WANTED),
        f"{kept} over {subjects} subjects: {unsupervised:+.3f} dB of {supervised:+.3f} dB",
    )


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"


def _curves(gains: Gains, best: str) -> Lines:
    order = np.argsort(gains["supervised"])
    ranks = np.arange(1, len(order) + 1)
    series: dict[str, Series] = {
        name: (ranks, gains[name][order], None) for name in reversed(NETWORKS)
    }
    wanted = WANTED * gains["supervised"][order]
    series[f"{_percent(WANTED)} of supervised"] = (ranks, wanted, None)
    return Lines(
        title="Gain of each test subject",
        x_label="test subject, by its supervised gain",
        y_label=f"PSNR over that of {best} (dB)",
        series=series,
    )


def _bars(gains: Gains, best: str) -> Bars:
    means = {name: estimate(values, SEED) for name, values in gains.items() if name != best}
    half = np.array([(mean.high - mean.low) / 2 for mean in means.values()])
    return Bars(
        title="Mean gain and 95 % interval",
        y_label=f"PSNR over that of {best} (dB)",
        groups=list(means),
        series={"gain": np.array([mean.mean for mean in means.values()])},
        error_bars={} if np.isnan(half).any() else {"gain": half},
    )
