"""Imputation of images that miss pixels at random: linear methods against six networks.

Each data set is split 50/30/20 into train, validation and test, of which a budget takes as many
images as it can afford. Each pixel is removed with the same probability, once, from all images.
Methods learn from the training images; the validation loss is over observed pixels; the truth of
test images is for the scores alone, and nothing is selected.

The first table shows the error over the missing pixels, the second over all pixels as the method
describes them; the paper does not say which its figure shows. With 28 pixels padded to 32, the
five levels of the paper's nets end in one voxel, whose 10 numbers are the encoding. The cpu
budget has three thousand steps, in which nets of five levels hardly get past the mean image: its
nets have three levels. The noise level of networks is fixed, as in the paper; unlike there, their
encoders do not see up to half of the observed pixels, or nothing would ask them for a missing one.
conv-fc-sparse still has an encoding of 10, as the linear subspace; the encoding
of the others is then a field of 4 x 4 x 8.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mriimpute.config import parse
from mriimpute.methods.dictionary.learning import DictionaryConfig
from mriimpute.papers.dalca.config import (
    BASELINES,
    LABELS,
    METHODS,
    NETWORKS,
    Method,
    MethodConfig,
    network_schedule,
    settings_of,
    subspace_schedule,
)
from mriimpute.papers.dalca.data import NAMES, Corpus, sparse_images
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

TITLE = "Imputation of randomly missing pixels: linear methods against six network variants"
SOURCE = "Dalca et al. 2019, section 4.3, Fig. 5 left and Fig. 6 (figures only, no numbers)"
DATA: tuple[str, ...] = ("mnist", "fashion", "scans")

SHORT: dict[str, str] = {
    "patches": "P",
    "mnist-2": "M-2",
    "mnist-all": "M-all",
    "mnist-rot": "M-rot",
    "fashion": "FM",
}
EXAMPLES = 1  # test images shown, the first ones
SIMPLISTIC = "conv-zero"  # "with the occasional exception of the simplistic conv-zero strategy"
COMPARABLE = 0.1  # relative difference of errors

Numbers = Mapping[tuple[str, str], Mapping[Method, Mapping[str, Any]]]
Errors = Mapping[tuple[str, str], Mapping[Method, float]]
"""Mean squared errors of missing pixels, by data set and per cent missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The size of the experiment.

    Attributes:
        missing: Fractions of missing pixels.
        counts: Training, validation and test images, at most.
        flat: Methods for digits and clothing.
        patches: Methods for patches of scans.
    """

    missing: tuple[float, ...]
    counts: tuple[int, int, int]
    flat: MethodConfig
    patches: MethodConfig


PLANS: dict[Budget, Plan] = {
    "smoke": Plan(
        missing=(0.75,),
        counts=(96, 16, 12),
        flat=MethodConfig(
            levels=2,
            channels=4,
            local=4,
            network=network_schedule(64, 16, 3e-3, 0.9),
            subspace=subspace_schedule(512, 32),
            em_iterations=3,
            dictionary=DictionaryConfig(atoms=24, sparsity=4, iterations=2),
            draws=2,
        ),
        patches=MethodConfig(
            levels=2,
            channels=4,
            local=4,
            encoding=10,
            network=network_schedule(32, 8, 3e-3, 0.9),
            subspace=subspace_schedule(128, 32),
            em_iterations=2,
            dictionary=DictionaryConfig(atoms=24, sparsity=4, iterations=1),
            draws=2,
        ),
    ),
    "cpu": Plan(
        missing=(0.75, 0.9),
        counts=(4000, 128, 400),
        flat=MethodConfig(
            levels=3,
            channels=8,
            local=8,
            network=network_schedule(96_000, 32, 3e-3, 0.99),
            subspace=subspace_schedule(40_000, 64),
            em_iterations=15,
            dictionary=DictionaryConfig(atoms=64, sparsity=8, iterations=6),
            draws=10,
        ),
        patches=MethodConfig(
            levels=3,
            channels=8,
            local=8,
            encoding=100,
            linear=40,
            network=network_schedule(60_000, 16, 3e-3, 0.99),
            subspace=subspace_schedule(8000, 32),
            em_iterations=5,
            dictionary=DictionaryConfig(atoms=100, sparsity=10, iterations=4),
            draws=5,
        ),
    ),
    "paper": Plan(
        missing=(0.75, 0.9),
        counts=(100_000, 1000, 10_000),
        flat=MethodConfig(
            local=10,
            network=network_schedule(640_000, 64, 1e-3, 0.999),
            subspace=subspace_schedule(640_000, 64),
            em_iterations=50,
            dictionary=DictionaryConfig(atoms=128, sparsity=8, iterations=20),
            draws=50,
        ),
        patches=MethodConfig(
            local=25,
            encoding=100,
            linear=100,
            network=network_schedule(320_000, 32, 1e-3, 0.999),
            subspace=subspace_schedule(320_000, 64),
            em_iterations=20,
            dictionary=DictionaryConfig(atoms=256, sparsity=16, iterations=20),
            draws=50,
        ),
    ),
}


def tasks(budget: Budget, seed: int) -> list[Task]:
    """Returns one task per data set, fraction of missing pixels and method."""
    plan = PLANS[budget]
    train, val, test = plan.counts
    return [
        Task(
            key=(name, str(round(100 * missing)), method),
            settings={
                "corpus": asdict(
                    Corpus(name=name, missing=missing, train=train, val=val, test=test)
                ),
                "method": method,
                "effort": settings_of(method, plan.patches if name == "patches" else plan.flat),
            },
        )
        for name in NAMES
        for missing in plan.missing
        for method in METHODS
    ]


def perform(task: Task, data: Data, *, seed: int, device: str) -> Outcome:
    """Fits one method to one data set, and scores what it makes of the test images."""
    settings = task.settings
    splits = sparse_images(data, parse(Corpus, settings["corpus"], where="corpus"), seed)
    return evaluate(settings, splits, examples=EXAMPLES, seed=seed, device=device)


def conclude(outcomes: Outcomes, budget: Budget) -> Conclusion:
    """Returns the errors of all methods on all data sets, and what the paper says about them."""
    numbers: Numbers = {
        (name, missing): {m: outcomes[name, missing, m].numbers for m in METHODS}
        for name, missing, _ in outcomes
    }
    errors: Errors = {
        case: {m: float(scores[m]["mse_missing"]) for m in METHODS}
        for case, scores in numbers.items()
    }
    return Conclusion(
        tables=[
            _table(numbers, "missing", "missing pixels"),
            _table(numbers, "all", "all pixels, as the method describes them"),
        ],
        plots=[_bars(numbers), _gallery(outcomes, list(errors))],
        claims=[
            _rotation_claim(errors),
            _baseline_claim(errors),
            _aware_claim(errors),
            _filled_claim(errors),
            _subspace_claim(errors),
        ],
    )


def _label(case: tuple[str, str]) -> str:
    return f"{SHORT[case[0]]}-{case[1]}"


def _table(numbers: Numbers, region: str, words: str) -> Table:
    rows = [
        [_label(case), *(scores[m][f"mse_{region}"] for m in METHODS), "figure only"]
        for case, scores in numbers.items()
    ]
    columns = ["data set - % missing", *(LABELS[m] for m in METHODS), "paper"]
    return Table(f"Mean squared error of test images, {words}", columns, rows)


def _bars(numbers: Numbers) -> Bars:
    return Bars(
        "Errors of test images (bars: standard error)",
        "MSE, missing pixels",
        [_label(case) for case in numbers],
        {LABELS[m]: [scores[m]["mse_missing"] for scores in numbers.values()] for m in METHODS},
        {LABELS[m]: [scores[m]["sem_missing"] for scores in numbers.values()] for m in METHODS},
    )


def _gallery(outcomes: Outcomes, cases: Sequence[tuple[str, str]]) -> Images:
    """Returns images as in Fig. 6, one row per data set."""
    rows = []
    for case in cases:
        images = {m: outcomes[*case, m].arrays for m in METHODS}
        first = images["interpolation"]
        rows.append([first["truth"][0], first["y"][0], *(images[m]["mean"][0] for m in METHODS)])
    return Images(
        f"The first test image of {', '.join(map(_label, cases))}",
        ["truth", "observed", *(LABELS[m] for m in METHODS)],
        rows,
    )


def _rotation_claim(errors: Errors) -> Claim:
    details, holds = [], True
    for (name, missing), error in errors.items():
        if name != "mnist-rot":
            continue
        linear = min(error["subspace-sgd"], error["subspace-em"])
        holds &= all(error[m] < linear for m in NETWORKS if m != SIMPLISTIC)
        networks = ", ".join(f"{m} {error[m]:.3g}" for m in NETWORKS)
        details.append(f"{missing} %: subspace {linear:.3g}; {networks}")
    text = f"MNIST-rot: networks (except, at most, {SIMPLISTIC}) beat the linear subspace"
    return Claim(text, holds, "; ".join(details))


def _baseline_claim(errors: Errors) -> Claim:
    details = []
    for case, error in errors.items():
        best = min(BASELINES, key=lambda m: error[m])
        if worse := [m for m in NETWORKS if m != SIMPLISTIC and error[m] >= error[best]]:
            details.append(f"{_label(case)}: {best} beats {', '.join(worse)}")
    text = f"networks except {SIMPLISTIC} beat every baseline on every data set"
    summary = f"{len(errors) - len(details)} of {len(errors)} data sets"
    return Claim(text, not details, "; ".join([summary, *details]))


def _aware_claim(errors: Errors) -> Claim:
    best = {case: min(NETWORKS, key=lambda m: error[m]) for case, error in errors.items()}
    aware = sum(m in ("conv-sparse", "conv-fc-sparse") for m in best.values())
    detail = ", ".join(f"{_label(case)}: {m}" for case, m in best.items())
    text = "a sparsity-aware encoder (conv-sparse, conv-fc-sparse) is the best of the variants"
    return Claim(text, aware == len(best), f"{aware} of {len(best)} data sets; best are {detail}")


def _filled_claim(errors: Errors) -> Claim:
    won = [
        _label(case)
        for case, error in errors.items()
        if max(error["conv-mean"], error["conv-interp"])
        < min(error["subspace-sgd"], error["subspace-em"], error["dictionary"])
    ]
    return Claim(
        "filling by interpolation or mean, then a network, beats the linear models",
        len(won) == len(errors),
        f"{len(won)} of {len(errors)} data sets: {', '.join(won) or 'none'}",
    )


def _subspace_claim(errors: Errors) -> Claim:
    ratio = {
        case: error["subspace-sgd"] / error["subspace-em"]
        for case, error in errors.items()
        if case[0] != "patches"
    }
    return Claim(
        "small data sets and models: SGD and EM fit the linear subspace equally well",
        all(abs(r - 1) < COMPARABLE for r in ratio.values()),
        "SGD / EM: " + ", ".join(f"{_label(case)} {r:.3f}" for case, r in ratio.items()),
    )
