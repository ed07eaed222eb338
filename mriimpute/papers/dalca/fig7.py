"""Imputation of coronal brain slices that keep parallel lines at a random angle.

Scans are split 50/30/20 by subject. Of each test subject the middle coronal slice is imputed. The
paper learns from one slice of thousands of subjects; a folder of scans has fewer, so learning
takes several slices around the middle of each training subject. The paper keeps every sixth line
of 1 mm scans; `every` is in voxels, so of scans at 2 mm every third line is the paper's 6 mm, and
every sixth is twice as hard. Scans are not registered, only centred on the brain.

Errors are over the missing voxels of the brain, where the truth is above 0; background would make
them look smaller. Methods and rules are those of figure 5.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mriimpute.config import parse
from mriimpute.methods.dictionary.learning import DictionaryConfig
from mriimpute.methods.patches.hidden import NOTHING_HIDDEN
from mriimpute.papers.dalca.config import (
    LABELS,
    METHODS,
    NETWORKS,
    Method,
    MethodConfig,
    network_schedule,
    settings_of,
    subspace_schedule,
)
from mriimpute.papers.dalca.data import Slices, sparse_slices
from mriimpute.papers.dalca.methods import evaluate
from mriimpute.papers.data import Data
from mriimpute.papers.experiment import (
    Bars,
    Budget,
    Claim,
    Conclusion,
    Images,
    Outcome,
    Outcomes,
    Table,
    Task,
)

__all__ = ["DATA", "SOURCE", "TITLE", "conclude", "perform", "tasks"]

TITLE = "Imputation of coronal brain slices with lines missing at random angles"
SOURCE = "Dalca et al. 2019, section 4.4, Fig. 5 right and Fig. 7 (figures only, no numbers)"
DATA: tuple[str, ...] = ("scans",)

Numbers = Mapping[str, Mapping[Method, Mapping[str, Any]]]
"""By distance of the lines."""

SHOWN: tuple[Method, ...] = ("interpolation", "subspace-sgd", *NETWORKS)  # the paper's columns
EXAMPLES = 2  # test subjects shown, the first ones


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The size of the experiment.

    Attributes:
        every: Distances of the lines that are kept, in voxels.
        slices: The data set; `every` is replaced by each distance.
        methods: Sizes and training of all methods.
    """

    every: tuple[int, ...]
    slices: Slices
    methods: MethodConfig


PLANS: dict[Budget, Plan] = {
    "smoke": Plan(
        every=(6,),
        slices=Slices(every=6, size=(80, 80), around=0, step=2, subjects=6),
        methods=MethodConfig(
            hidden=NOTHING_HIDDEN,
            levels=2,
            channels=4,
            local=4,
            encoding=10,
            linear=6,
            network=network_schedule(16, 4, 3e-3, 0.9),
            subspace=subspace_schedule(64, 8),
            em_iterations=2,
            dictionary=DictionaryConfig(atoms=12, sparsity=4, iterations=1),
            draws=2,
        ),
    ),
    "cpu": Plan(
        every=(3, 6),
        slices=Slices(every=6, size=(80, 80), around=3, step=2),
        methods=MethodConfig(
            hidden=NOTHING_HIDDEN,
            levels=3,
            channels=8,
            local=16,
            encoding=200,
            linear=20,
            network=network_schedule(3200, 4, 3e-3, 0.98),
            subspace=subspace_schedule(4000, 16),
            em_iterations=10,
            dictionary=DictionaryConfig(atoms=100, sparsity=10, iterations=4),
            draws=10,
        ),
    ),
    "paper": Plan(
        every=(3, 6),
        slices=Slices(every=6, size=(96, 96), around=6, step=1),
        methods=MethodConfig(
            hidden=NOTHING_HIDDEN,
            levels=5,
            local=22,
            encoding=200,
            linear=50,
            network=network_schedule(160_000, 16, 1e-3, 0.999),
            subspace=subspace_schedule(64_000, 32),
            em_iterations=30,
            dictionary=DictionaryConfig(atoms=200, sparsity=16, iterations=20),
            draws=50,
        ),
    ),
}


def tasks(budget: Budget, seed: int) -> list[Task]:
    """Returns one task per distance of lines and method."""
    plan = PLANS[budget]
    return [
        Task(
            key=(str(every), method),
            settings={
                "slices": asdict(plan.slices) | {"every": every},
                "method": method,
                "effort": settings_of(method, plan.methods),
            },
        )
        for every in plan.every
        for method in METHODS
    ]


def perform(task: Task, data: Data, *, seed: int, device: str) -> Outcome:
    """Fits one method to the slices, and scores what it makes of the test subjects."""
    settings = task.settings
    splits = sparse_slices(data, parse(Slices, settings["slices"], where="slices"), seed)
    return evaluate(settings, splits, examples=EXAMPLES, seed=seed, device=device)


def conclude(outcomes: Outcomes, budget: Budget) -> Conclusion:
    """Returns errors and images like the paper's, and what it says about them."""
    numbers: Numbers = {
        every: {m: outcomes[every, m].numbers for m in METHODS} for every, _ in outcomes
    }
    return Conclusion(
        tables=[_table(numbers)],
        plots=[*(_gallery(outcomes, every) for every in numbers), _bars(numbers)],
        claims=[
            _claim(numbers, "interpolation", "linear interpolation"),
            _claim(numbers, "subspace-sgd", "the linear subspace"),
        ],
    )


def _table(numbers: Numbers) -> Table:
    rows = [
        [
            LABELS[m],
            *(n[m][f"mse_{region}"] for n in numbers.values() for region in ("tissue", "all")),
            "figure only",
        ]
        for m in METHODS
    ]
    columns = [f"every {e}, {words}" for e in numbers for words in ("brain", "all voxels")]
    title = "Mean squared error of test slices: missing voxels of the brain, and all voxels"
    return Table(title, ["method", *columns, "paper"], rows)


def _bars(numbers: Numbers) -> Bars:
    return Bars(
        "Errors of test slices (bars: standard error)",
        "MSE, missing voxels of the brain",
        [f"every {every}" for every in numbers],
        {LABELS[m]: [scores[m]["mse_tissue"] for scores in numbers.values()] for m in METHODS},
        {LABELS[m]: [scores[m]["sem_tissue"] for scores in numbers.values()] for m in METHODS},
    )


def _gallery(outcomes: Outcomes, every: str) -> Images:
    images = {m: outcomes[every, m].arrays for m in SHOWN}
    first = images["interpolation"]
    rows = [
        [truth, interpolated, y, *(images[m]["mean"][n] for m in SHOWN[1:])]
        for n, (truth, interpolated, y) in enumerate(
            zip(first["truth"], first["mean"], first["y"], strict=True)
        )
    ]
    columns = ["truth", LABELS["interpolation"], "lines", *(LABELS[m] for m in SHOWN[1:])]
    title = f"Middle coronal slices of the first test subjects, one line in {every} kept"
    return Images(title, columns, rows)


def _claim(numbers: Numbers, baseline: Method, words: str) -> Claim:
    details, holds = [], True
    for every, scores in numbers.items():
        bound, *errors = (float(scores[m]["mse_tissue"]) for m in (baseline, *NETWORKS))
        holds &= max(errors) < bound
        networks = ", ".join(f"{m} {e:.3g}" for m, e in zip(NETWORKS, errors, strict=True))
        details.append(f"every {every}: {words} {bound:.3g}; {networks}")
    return Claim(f"all six variants beat {words}", holds, "; ".join(details))
