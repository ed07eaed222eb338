"""conv-sparse against Deep Image Prior, as less and less of an image is observed.

conv-sparse learns from a training set of sparse images and completes test images in one pass. A
Deep Image Prior fits the same decoder, without the ReLU behind its 1 x 1 expansion, to each test
image alone, for a fixed number of steps, or until the prediction of a tenth of the observed
pixels, held out, gets worse ("early"). All are scored on the same test images, over the missing
pixels (of brain slices: of the brain).

Pixels of MNIST-2 and of class 1 of Fashion-MNIST (trousers) are missing at random; of brain
slices, parallel lines at a random angle are, and the sparsity is their distance. Seconds are
those of this machine, of one image at a time, and mean something as a ratio only.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from mriimpute.config import parse
from mriimpute.methods.deep_image_prior.fit import PriorConfig
from mriimpute.methods.patches.hidden import NOTHING_HIDDEN
from mriimpute.papers.dalca.config import MethodConfig, network_schedule, settings_of
from mriimpute.papers.dalca.data import Slices, Splits, sparse_photographs, sparse_slices
from mriimpute.papers.dalca.methods import (
    complete_all,
    outcome,
    pass_ms,
    restore_all,
    train_network,
)
from mriimpute.papers.data import Data
from mriimpute.papers.experiment import (
    Budget,
    Cell,
    Claim,
    Conclusion,
    Images,
    Lines,
    Outcome,
    Outcomes,
    Series,
    Table,
    Task,
)

__all__ = ["DATA", "SOURCE", "TITLE", "conclude", "perform", "tasks"]

TITLE = "conv-sparse against Deep Image Prior as sparsity grows"
SOURCE = "Dalca et al. 2019, section 4.5 and Fig. 8; times: 18.6 +- 13.7 ms and 36.5 +- 0.2 s"
DATA: tuple[str, ...] = ("mnist", "fashion", "scans")

Name = Literal["mnist-2", "fashion-1", "slices"]
NAMES: tuple[Name, ...] = get_args(Name)
Method = Literal["conv-sparse", "dip", "dip-early"]
METHODS: tuple[Method, ...] = get_args(Method)
LABELS: dict[Method, str] = {"conv-sparse": "conv-sparse", "dip": "DIP", "dip-early": "DIP, early"}
PAPER_MS: dict[Method, str] = {"conv-sparse": "18.6 +- 13.7", "dip": "36500 +- 200"}
PAPER_RATIO = 36_500 / 18.6

Levels: TypeAlias = Mapping[int, Mapping[Method, Mapping[str, Any]]]
"""Numbers by per cent missing, or by distance of lines in voxels."""
Numbers: TypeAlias = Mapping[Name, Levels]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The size of the experiment.

    Attributes:
        missing: Per cent of the pixels that are removed from digits and clothing.
        every: Distances of the lines that brain slices keep, in voxels.
        counts: Training, validation and test images, at most.
        slices: The data set of brain slices; `every` is replaced by each distance.
        slices_scored: Test slices, at most.
        flat: Methods for digits and clothing.
        brain: Methods for brain slices.
        steps: Steps of a Deep Image Prior, at most; the paper has 1000.
    """

    missing: tuple[int, ...]
    every: tuple[int, ...]
    counts: tuple[int, int, int]
    slices: Slices
    slices_scored: int
    flat: MethodConfig
    brain: MethodConfig
    steps: int = 1000


PLANS: dict[Budget, Plan] = {
    "smoke": Plan(
        missing=(75, 90),
        every=(3, 6),
        counts=(96, 16, 2),
        slices=Slices(every=6, size=(80, 80), around=0, step=2, subjects=6),
        slices_scored=2,
        flat=MethodConfig(
            levels=2, channels=4, local=4, network=network_schedule(96, 16, 3e-3, 0.9), draws=2
        ),
        brain=MethodConfig(
            hidden=NOTHING_HIDDEN,
            levels=2,
            channels=4,
            local=4,
            network=network_schedule(24, 4, 3e-3, 0.9),
            draws=2,
        ),
        steps=20,
    ),
    "cpu": Plan(
        missing=(50, 75, 90, 95),
        every=(2, 3, 4, 6),
        counts=(3000, 128, 3),
        slices=Slices(every=6, size=(80, 80), around=3, step=2),
        slices_scored=3,
        flat=MethodConfig(
            levels=3,
            channels=8,
            local=8,
            network=network_schedule(88_000, 32, 3e-3, 0.99),
            draws=10,
        ),
        brain=MethodConfig(
            hidden=NOTHING_HIDDEN,
            levels=3,
            channels=8,
            local=16,
            network=network_schedule(2800, 4, 3e-3, 0.98),
            draws=10,
        ),
    ),
    "paper": Plan(
        missing=(50, 75, 90, 95, 98),
        every=(2, 3, 4, 6, 8),
        counts=(100_000, 1000, 20),
        slices=Slices(every=6, size=(96, 96), around=6, step=1),
        slices_scored=18,
        flat=MethodConfig(network=network_schedule(400_000, 64, 1e-3, 0.999), draws=50),
        brain=MethodConfig(
            hidden=NOTHING_HIDDEN,
            local=22,
            network=network_schedule(160_000, 16, 1e-3, 0.999),
            draws=50,
        ),
    ),
}


def tasks(budget: Budget, seed: int) -> list[Task]:
    """Returns one task per data set, sparsity and method."""
    plan = PLANS[budget]
    return [
        Task(
            key=(name, str(level), method),
            settings={
                "corpus": _corpus(plan, name, level),
                "method": method,
                "effort": _settings(method, plan, name),
            },
        )
        for name in NAMES
        for level in (plan.every if name == "slices" else plan.missing)
        for method in METHODS
    ]


def _corpus(plan: Plan, name: Name, level: int) -> dict[str, Any]:
    if name != "slices":
        return {"counts": plan.counts}
    return {"slices": asdict(plan.slices) | {"every": level}, "scored": plan.slices_scored}


def _settings(method: Method, plan: Plan, name: Name) -> dict[str, Any]:
    config = plan.brain if name == "slices" else plan.flat
    if method == "conv-sparse":
        return settings_of(method, config)
    prior = PriorConfig(
        steps=plan.steps,
        hold_out=0.1 if method == "dip-early" else 0.0,
        levels=config.levels,
        channels=config.channels,
        widest=config.widest,
        latents=config.local,
    )
    return asdict(prior)


def perform(task: Task, data: Data, *, seed: int, device: str) -> Outcome:
    """Completes the test images of one data set with one method, and takes the time."""
    settings, (name, level, _) = task.settings, task.key
    splits = _splits(data, name, int(level), settings["corpus"], seed)
    test, config = splits.test, settings["effort"]
    if settings["method"] == "conv-sparse":
        model, numbers = train_network("conv-sparse", config, splits, seed=seed, device=device)
        mean = complete_all(model, test, int(config["draws"]), seed=seed)
        times = pass_ms(model, test, seed=seed)
    else:
        prior = parse(PriorConfig, config, where="prior")
        (mean, numbers), times = restore_all(prior, test, seed=seed, device=device)
    ms = {"image_ms": float(np.mean(times)), "image_ms_std": float(np.std(times))}
    return outcome(test, mean, numbers | ms | {"images_test": len(test)}, examples=1)


def _splits(data: Data, name: str, level: int, corpus: Mapping[str, Any], seed: int) -> Splits:
    if name != "slices":
        return sparse_photographs(data, name, level, corpus["counts"], seed)
    splits = sparse_slices(data, parse(Slices, corpus["slices"], where="slices"), seed)
    return splits._replace(test=splits.test.take(slice(int(corpus["scored"]))))


def conclude(outcomes: Outcomes, budget: Budget) -> Conclusion:
    """Returns errors by sparsity, run times, and what the paper says about them."""
    numbers: Numbers = {
        name: {
            level: {m: outcomes[name, str(level), m].numbers for m in METHODS}
            for level in sorted({int(key[1]) for key in outcomes if key[0] == name})
        }
        for name in NAMES
    }
    return Conclusion(
        tables=[_error_table(numbers), _time_table(numbers, PLANS[budget].steps)],
        plots=[
            *(_gallery(outcomes, name, list(levels)) for name, levels in numbers.items()),
            *(_curves(name, levels) for name, levels in numbers.items()),
        ],
        claims=[_behind_claim(numbers), _better_claim(numbers), _time_claim(numbers)],
    )


def _error_table(numbers: Numbers) -> Table:
    rows: list[list[Cell]] = [
        [name, level, *errors.values(), levels[level]["dip"]["images_test"], "figure only"]
        for name, levels in numbers.items()
        for level, errors in _errors(name, levels).items()
    ]
    columns = ["data set", "% missing, or line distance", *(LABELS[m] for m in METHODS)]
    title = "Mean squared error over missing pixels (slices: of the brain)"
    return Table(title, [*columns, "test images", "paper"], rows)


def _time_table(numbers: Numbers, steps: int) -> Table:
    rows: list[list[Cell]] = []
    paper_ratio: dict[Method, str] = {"conv-sparse": "1", "dip": f"{PAPER_RATIO:.0f}"}
    for name, levels in numbers.items():
        ms = {m: _pooled_ms(levels, m) for m in METHODS}
        for m in METHODS:
            paper = (PAPER_MS.get(m), paper_ratio.get(m)) if name == "slices" else (None, None)
            rows.append([name, LABELS[m], *ms[m], ms[m][0] / ms["conv-sparse"][0], *paper])
    columns = ["data set", "method", "ms", "std", "ratio", "paper ms", "paper ratio"]
    title = (
        f"Time per image on this machine: one draw by conv-sparse (errors are of means of draws), "
        f"at most {steps} steps of Deep Image Prior (paper: 1000)"
    )
    return Table(title, columns, rows)


def _gallery(outcomes: Outcomes, name: Name, levels: list[int]) -> Images:
    rows = []
    for level in levels:
        images = {m: outcomes[name, str(level), m].arrays for m in METHODS}
        first = images["conv-sparse"]
        rows.append([first["truth"][0], first["y"][0], *(images[m]["mean"][0] for m in METHODS)])
    unit = "lines at a distance of" if name == "slices" else "% missing:"
    title = f"{name}, {unit} {', '.join(map(str, levels))}"
    return Images(title, ["truth", "observed", *(LABELS[m] for m in METHODS)], rows)


def _curves(name: Name, levels: Levels) -> Lines:
    sem = "sem_tissue" if name == "slices" else "sem_missing"
    errors = _errors(name, levels)
    series: dict[str, Series] = {
        LABELS[m]: (
            [float(level) for level in levels],
            [error[m] for error in errors.values()],
            [float(scores[m][sem]) for scores in levels.values()],
        )
        for m in METHODS
    }
    x_label = "distance of lines (voxels)" if name == "slices" else "missing pixels (%)"
    return Lines(name, x_label, "MSE, missing pixels", series, log_y=True)


def _behind_claim(numbers: Numbers) -> Claim:
    details, holds = [], True
    for name, levels in numbers.items():
        gaps = {
            level: error["dip"] - error["conv-sparse"]
            for level, error in _errors(name, levels).items()
        }
        holds &= gaps[max(gaps)] > max(gaps[min(gaps)], 0.0)
        details.append(f"{name}: {', '.join(f'{n}: {gap:+.3g}' for n, gap in gaps.items())}")
    text = "Deep Image Prior falls behind as sparsity grows"
    return Claim(text, holds, "MSE of DIP minus conv-sparse; " + "; ".join(details))


def _better_claim(numbers: Numbers) -> Claim:
    details, total = [], 0
    for name, levels in numbers.items():
        for level, error in _errors(name, levels).items():
            total += 1
            sparse, prior = error["conv-sparse"], min(error["dip"], error["dip-early"])
            if sparse >= prior:
                details.append(f"not {name} {level}: {sparse:.3g} against {prior:.3g}")
    text = "conv-sparse reconstructs consistently better than either Deep Image Prior"
    summary = f"{total - len(details)} of {total}"
    return Claim(text, not details, "; ".join([summary, *details]))


def _time_claim(numbers: Numbers) -> Claim:
    dip, sparse = (_pooled_ms(numbers["slices"], m)[0] for m in ("dip", "conv-sparse"))
    return Claim(
        "a brain slice takes one pass, a Deep Image Prior a thousand steps: ratio above 100",
        dip / sparse > 100,
        f"ratio {dip / sparse:.0f} here, {PAPER_RATIO:.0f} in the paper, on another machine",
    )


def _pooled_ms(levels: Levels, method: Method) -> tuple[float, float]:
    """Returns mean and standard deviation over the images of all levels."""
    mean = np.array([scores[method]["image_ms"] for scores in levels.values()])
    std = np.array([scores[method]["image_ms_std"] for scores in levels.values()])
    return float(mean.mean()), float(np.sqrt(np.mean(std**2) + mean.var()))


def _errors(name: Name, levels: Levels) -> dict[int, dict[Method, float]]:
    """Returns the mean squared errors of missing pixels, of slices those of the brain."""
    score = "mse_tissue" if name == "slices" else "mse_missing"
    return {n: {m: float(scores[m][score]) for m in METHODS} for n, scores in levels.items()}
