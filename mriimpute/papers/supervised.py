"""How much of the gain of full supervision is kept by learning from sparse scans alone.

Two networks have the same size, initial parameters, settings, seed and number of steps. One learns
from lines hidden inside the acquired slices of the train subjects, as `mriimpute train` does; the
other from the true planes that cross these slices, of which it sees lines as far apart as slices
are. Both are calibrated on lines hidden in slices of the val subjects, and impute the test
subjects with the same code.

A yardstick for research, not a method: full scans are what users do not have. No other experiment,
and no other command, opens the truth of train subjects.

Errors are over the missing voxels of the brain between the first and the last acquired slice. A
gain is the PSNR minus that of the best interpolator, subject by subject.
"""

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
from jaxtyping import Float64

from mriimpute import metrics
from mriimpute.errors import VolumeError
from mriimpute.interpolation import Kind
from mriimpute.methods.base import Imputer
from mriimpute.methods.registry import load_imputer
from mriimpute.metrics.statistics import Estimate, estimate, ratio_of_means
from mriimpute.papers._supervised import Network, train_network
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
from mriimpute.papers.simulation import Exam

__all__ = ["DATA", "SOURCE", "TITLE", "conclude", "perform", "tasks"]

TITLE = "Gain over interpolation without full scans to learn from, and with them"
SOURCE = "No paper: the yardstick of the cross-plane network, a research command"
DATA: tuple[str, ...] = ("simulation",)

INTERPOLATORS: tuple[str, ...] = get_args(Kind)
NETWORKS: tuple[Network, ...] = get_args(Network)
KEPT = 0.9  # share of the supervised gain that is asked for

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
COURSE: dict[str, Any] = {"batch": 4, "rate": 2e-3, "average": 0.999, "start": "scratch"}
SEED = 0  # of the bootstrap, for any run: an interval is a fact about the outcomes
LINES: dict[str, Any] = {"own_gap": 1.0, "thick": 0.0, "scales": [1.0]}


def tasks(budget: Budget, seed: int) -> list[Task]:
    """Returns one task per interpolator and network."""
    plan = PLANS[budget]
    network = {
        "name": "cross-plane",
        "model": plan["model"],
        "lines": LINES,
        "train": COURSE | plan["train"],
    }
    found = [Task(key=(name,), settings={"method": name}) for name in INTERPOLATORS]
    return found + [
        Task(key=(name,), settings={"method": name, "network": network}) for name in NETWORKS
    ]


def perform(task: Task, data: Data, *, seed: int, device: str) -> Outcome:
    """Trains a network where it needs training, and scores what is made of the test subjects."""
    sim, method = data.simulation(), task.settings["method"]
    name = method
    if method in NETWORKS:
        if data.runs is None:
            raise ValueError("data.runs must be a folder: a network needs a place to be kept")
        options: Any = {"seed": seed, "device": device}
        name = str(
            train_network(method, sim, data.runs / method, task.settings["network"], **options)
        )
    imputer = load_imputer(name, device=device)
    scores = [_scored(imputer, exam, method, seed) for exam in sim.exams()]
    return Outcome(
        {key: [score[key] for score in scores] for key in ("subject", "scan", "psnr_db", "ssim")}
    )


def _scored(imputer: Imputer, exam: Exam, method: str, seed: int) -> dict[str, Any]:
    mean = imputer.impute(exam.volume, seed=seed, case=exam.name).mean
    truth, imputed = exam.truth[exam.region], mean[exam.region]
    if not np.isfinite(imputed).all():
        raise VolumeError(
            f"{method} gives values that are not finite for {exam.name}",
            hint="this is a fault of the method: report it",
        )
    peak = exam.data_range
    return {
        "subject": exam.subject,
        "scan": exam.name,
        "psnr_db": metrics.psnr(truth, imputed, data_range=peak),
        "ssim": metrics.ssim(exam.truth, mean, region=exam.region, data_range=peak),
    }


def conclude(outcomes: Outcomes, budget: Budget) -> Conclusion:
    """Returns the gains of all methods, and whether enough is kept without supervision."""
    psnr = {name: _by_subject(o.numbers, "psnr_db") for (name,), o in outcomes.items()}
    ssim = {name: _by_subject(o.numbers, "ssim") for (name,), o in outcomes.items()}
    best = max(INTERPOLATORS, key=lambda name: float(psnr[name].mean()))
    gains = {name: values - psnr[best] for name, values in psnr.items()}
    subjects = len(gains[best])

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
    title = f"Means over {subjects} test subjects; gains over {best}, 95 % bootstrap intervals"
    kept = ratio_of_means(gains["unsupervised"], gains["supervised"], SEED)
    shares = Table(
        "Gain in PSNR kept without supervision", ["share", "from", "to"], [_cells(kept)]
    )
    return Conclusion(
        [Table(title, columns, rows), shares],
        [_curves(gains, best), _bars(gains, best)],
        [_claim(gains, kept, subjects)],
    )


def _by_subject(numbers: Mapping[str, Any], key: str) -> Float64[np.ndarray, " n"]:
    """Returns the scores, those of a subject's scans averaged: it counts once."""
    of: dict[str, list[float]] = {}
    for subject, value in zip(numbers["subject"], numbers[key], strict=True):
        of.setdefault(subject, []).append(value)
    return np.array([np.mean(of[subject]) for subject in sorted(of)], np.float64)


def _cells(found: Estimate) -> list[Cell]:
    return [found.mean, found.low, found.high]


def _claim(gains: Mapping[str, Float64[np.ndarray, " n"]], kept: Estimate, subjects: int) -> Claim:
    """Judges by the lower end of the interval, or by the share itself where there is none."""
    judged = kept.mean if np.isnan(kept.low) else kept.low
    ours, whole = (float(gains[name].mean()) for name in NETWORKS)
    interval = (
        "no interval" if np.isnan(kept.low) else f"{_percent(kept.low)} to {_percent(kept.high)}"
    )
    found = "no share" if np.isnan(kept.mean) else f"{_percent(kept.mean)} ({interval})"
    return Claim(
        f"without supervision at least {_percent(KEPT)} of the supervised gain is kept",
        bool(judged >= KEPT),
        f"{found} over {subjects} subjects: {ours:+.3f} dB of {whole:+.3f} dB",
    )


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"


def _curves(gains: Mapping[str, Float64[np.ndarray, " n"]], best: str) -> Lines:
    order = np.argsort(gains["supervised"])
    ranks = np.arange(1, len(order) + 1)
    series: dict[str, Series] = {
        name: (ranks, gains[name][order], None) for name in reversed(NETWORKS)
    }
    series[f"{_percent(KEPT)} of supervised"] = (ranks, KEPT * gains["supervised"][order], None)
    return Lines(
        title="Gain of each test subject",
        x_label="test subject, by its supervised gain",
        y_label=f"PSNR over that of {best} (dB)",
        series=series,
    )


def _bars(gains: Mapping[str, Float64[np.ndarray, " n"]], best: str) -> Bars:
    means = {name: estimate(values, SEED) for name, values in gains.items() if name != best}
    half = np.array([(mean.high - mean.low) / 2 for mean in means.values()])
    return Bars(
        title="Mean gain and 95 % interval",
        y_label=f"PSNR over that of {best} (dB)",
        groups=list(means),
        series={"gain": np.array([mean.mean for mean in means.values()])},
        spread={} if np.isnan(half).any() else {"gain": half},
    )
