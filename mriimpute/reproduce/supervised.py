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
from typing import Any, NamedTuple, get_args

import numpy as np
from jaxtyping import Float64

from mriimpute import metrics
from mriimpute.device import TILE
from mriimpute.errors import VolumeError
from mriimpute.impute import Imputer, load_imputer
from mriimpute.impute.interpolate import Kind
from mriimpute.reproduce._contract import (
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
from mriimpute.reproduce._data import Data
from mriimpute.reproduce._simulation import Exam
from mriimpute.reproduce._yardstick import Network, learn
from mriimpute.seeds import numpy_stream

__all__ = ["DATA", "SOURCE", "TITLE", "conclude", "perform", "tasks"]

TITLE = "Gain over interpolation without full scans to learn from, and with them"
SOURCE = "No paper: the yardstick of the cross-plane network, a research command"
DATA: tuple[str, ...] = ("simulation",)

INTERPOLATORS: tuple[str, ...] = get_args(Kind)
NETWORKS: tuple[Network, ...] = get_args(Network)
KEPT = 0.9  # share of the supervised gain that is asked for
FEWEST_SUBJECTS = 5  # for an interval
RESAMPLES = 10_000

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
LINES: dict[str, Any] = {"own_gap": 1.0, "thick": 0.0, "scales": [1.0]}


class _Interval(NamedTuple):
    """A number, and its 95 % bootstrap interval over subjects; NaN where there is none."""

    value: float
    low: float
    high: float


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
        name = str(learn(method, sim, data.runs / method, task.settings["network"], **options))
    imputer = load_imputer(name, device=device)
    scores = [_scored(imputer, exam, method, seed) for exam in sim.exams()]
    return Outcome(
        {key: [score[key] for score in scores] for key in ("subject", "scan", "psnr_db", "ssim")}
    )


def _scored(imputer: Imputer, exam: Exam, method: str, seed: int) -> dict[str, Any]:
    mean = imputer.impute(exam.volume, seed=seed, case=exam.name, tile=TILE).mean
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
            *_mean(gains[name]),
            float(ssim[name].mean()),
            float((ssim[name] - ssim[best]).mean()),
        ]
        for name in psnr
    ]
    title = f"Means over {subjects} test subjects; gains over {best}, 95 % bootstrap intervals"
    share = _share(gains["unsupervised"], gains["supervised"])
    kept = Table("Gain in PSNR kept without supervision", ["share", "from", "to"], [[*share]])
    return Conclusion(
        [Table(title, columns, rows), kept],
        [_curves(gains, best), _bars(gains, best)],
        [_claim(gains, share, subjects)],
    )


def _by_subject(numbers: Mapping[str, Any], key: str) -> Float64[np.ndarray, " n"]:
    """Returns the scores, those of a subject's scans averaged: it counts once."""
    of: dict[str, list[float]] = {}
    for subject, value in zip(numbers["subject"], numbers[key], strict=True):
        of.setdefault(subject, []).append(value)
    return np.array([np.mean(of[subject]) for subject in sorted(of)], np.float64)


def _resampled(*values: Float64[np.ndarray, " n"]) -> list[Float64[np.ndarray, " r"]]:
    """Returns means over the same resampled subjects, for each of the values."""
    count = len(values[0])
    # No seed of the run: an interval is a fact about the outcomes.
    picked = numpy_stream(0, "supervised", "bootstrap").integers(count, size=(RESAMPLES, count))
    return [value[picked].mean(axis=1) for value in values]


def _mean(values: Float64[np.ndarray, " n"]) -> _Interval:
    (means,) = _resampled(values)
    return _interval(float(values.mean()), means, len(values))


def _share(ours: Float64[np.ndarray, " n"], supervised: Float64[np.ndarray, " n"]) -> _Interval:
    """Returns the ratio of the mean gains; NaN where supervision does not surely gain."""
    means, wholes = _resampled(ours, supervised)
    whole = float(supervised.mean())
    if whole <= 0:
        return _Interval(np.nan, np.nan, np.nan)
    # Where the whole may be nothing, no share of it is too small or too large to be excluded.
    shares = np.divide(means, wholes, out=np.full_like(means, np.nan), where=wholes > 0)
    return _interval(float(ours.mean()) / whole, shares, len(ours))


def _interval(value: float, resampled: Float64[np.ndarray, " r"], subjects: int) -> _Interval:
    if subjects < FEWEST_SUBJECTS or np.isnan(resampled).any():
        return _Interval(value, np.nan, np.nan)
    low, high = np.quantile(resampled, [0.025, 0.975], method="inverted_cdf").tolist()
    return _Interval(value, low, high)


def _claim(
    gains: Mapping[str, Float64[np.ndarray, " n"]], share: _Interval, subjects: int
) -> Claim:
    """Judges by the lower end of the interval, or by the share itself where there is none."""
    judged = share.value if np.isnan(share.low) else share.low
    ours, whole = (float(gains[name].mean()) for name in NETWORKS)
    interval = (
        "no interval"
        if np.isnan(share.low)
        else f"{_percent(share.low)} to {_percent(share.high)}"
    )
    kept = "no share" if np.isnan(share.value) else f"{_percent(share.value)} ({interval})"
    return Claim(
        f"without supervision at least {_percent(KEPT)} of the supervised gain is kept",
        bool(judged >= KEPT),
        f"{kept} over {subjects} subjects: {ours:+.3f} dB of {whole:+.3f} dB",
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


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
    means = {name: _mean(values) for name, values in gains.items() if name != best}
    half = np.array([(mean.high - mean.low) / 2 for mean in means.values()])
    return Bars(
        title="Mean gain and 95 % interval",
        y_label=f"PSNR over that of {best} (dB)",
        groups=list(means),
        series={"gain": np.array([mean.value for mean in means.values()])},
        spread={} if np.isnan(half).any() else {"gain": half},
    )
