"""Accuracy of a classifier that learns from recovered images: corrupted, MVAE and TAE draws."""

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64

from mriimpute.config import parse
from mriimpute.papers.data import Data, ImageSet
from mriimpute.papers.experiment import (
    Bars,
    Budget,
    Cell,
    Claim,
    Conclusion,
    Outcome,
    Outcomes,
    Table,
    Task,
)
from mriimpute.papers.sparse import Sparse
from mriimpute.papers.tonolini.classifier import (
    ClassifierConfig,
    Draw,
    classify,
    of_posterior,
    raw,
)
from mriimpute.papers.tonolini.posteriors import (
    LABELS,
    PAPER,
    SMOKE,
    Case,
    Effort,
    Variant,
    brief,
    corrupted,
    learn,
)
from mriimpute.seeds import numpy_stream

__all__ = ["DATA", "SOURCE", "TITLE", "conclude", "perform", "tasks"]

TITLE = "Classification after imputation: corrupted images, MVAE and TAE draws"
SOURCE = "Tonolini et al. 2021, Fig. 4 and 5"
DATA: tuple[str, ...] = ("mnist", "fashion")

NAMES: dict[ImageSet, str] = {"mnist": "MNIST", "fashion": "Fashion-MNIST"}
Input = Literal["raw", "mvae", "tae"]
MODELS: tuple[Variant, ...] = ("mvae", "tae")
INPUTS: dict[Input, str] = {"tae": LABELS["tae"], "mvae": LABELS["mvae"], "raw": "corrupted"}
CLASSES = 10
MUCH_MISSING = 0.8  # where the paper sees the advantage
SHOWN = 200  # images whose frequencies are kept


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One repetition on one data set.

    Attributes:
        data: Name of the data.
        missing: Share of missing pixels.
        repeat: Images, labels and corruption are drawn anew for each.
        images: Corrupted images that there are.
        labelled: Of these, how many have labels; the others are classified.
        effort: For each model.
        classifier: For each kind of input.
    """

    data: ImageSet
    missing: float
    repeat: int
    images: int
    labelled: int
    effort: Effort
    classifier: ClassifierConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a budget pays for.

    Attributes:
        missing: Shares of missing pixels.
        repeats: Of everything.
        images: See `Trial`.
        labelled: See `Trial`.
        effort: For each model.
        classifier: For each kind of input.
    """

    missing: tuple[float, ...]
    repeats: int
    images: int = 10_000
    labelled: int = 1000
    effort: Effort
    classifier: ClassifierConfig


PLANS: dict[Budget, Plan] = {
    "smoke": Plan(
        missing=(0.5, 0.9),
        repeats=1,
        images=300,
        labelled=150,
        effort=SMOKE,
        classifier=ClassifierConfig(steps=50, runs=5),
    ),
    "cpu": Plan(
        missing=(0.2, 0.5, 0.8, 0.9),
        repeats=1,
        effort=brief(1500),
        classifier=ClassifierConfig(steps=1000, runs=20),
    ),
    "paper": Plan(
        missing=(0.2, 0.5, 0.8, 0.9),
        repeats=15,
        effort=PAPER,
        classifier=ClassifierConfig(steps=10_000, runs=400),
    ),
}


def tasks(budget: Budget, seed: int) -> list[Task]:
    """Returns one task per data set, share and repeat."""
    plan = PLANS[budget]
    return [
        Task(
            key=_key(data, missing, repeat),
            settings=asdict(
                Trial(
                    data=data,
                    missing=missing,
                    repeat=repeat,
                    images=plan.images,
                    labelled=plan.labelled,
                    effort=plan.effort,
                    classifier=plan.classifier,
                )
            ),
        )
        for data in NAMES
        for missing in plan.missing
        for repeat in range(plan.repeats)
    ]


def perform(task: Task, data: Data, *, seed: int, device: str) -> Outcome:
    """Trains both models on all images, and a classifier on each kind of input."""
    trial = parse(Trial, task.settings)
    images, labels = _chosen(trial, data, seed)
    cases = {
        model: Case(
            data=trial.data,
            model=model,
            missing=trial.missing,
            repeat=trial.repeat,
            effort=trial.effort,
        )
        for model in MODELS
    }
    sparse = corrupted(cases["mvae"], images, "train", seed)
    draws: dict[str, Draw] = {"raw": raw}
    for model, case in cases.items():
        draws[model] = of_posterior(learn(case, sparse, seed=seed, device=device)[0])

    return _classified(trial, draws, sparse, labels, seed=seed, device=device)


def conclude(outcomes: Outcomes, budget: Budget) -> Conclusion:
    """Returns the accuracies as bars, as in the paper."""
    plan = PLANS[budget]
    found = {
        (data, missing, name): _over_repeats(outcomes, plan, data, missing, f"accuracy_{name}")
        for data in NAMES
        for missing in plan.missing
        for name in INPUTS
    }
    doubts = {
        (data, missing, name): _over_repeats(outcomes, plan, data, missing, f"doubt_{name}")[0]
        for data, missing, name in found
    }
    rows: list[list[Cell]] = [
        [
            NAMES[data],
            f"{missing:.0%}",
            INPUTS[name],
            accuracy,
            spread,
            doubts[data, missing, name],
            "figure only",
        ]
        for (data, missing, name), (accuracy, spread) in found.items()
    ]
    columns = ["data", "missing", "input", "accuracy", "+-", "entropy of classes", "paper"]
    title = "Accuracy on images without labels; entropy in nats of the classes of their draws"
    bars = [
        Bars(
            NAMES[data],
            "accuracy",
            [f"{missing:.0%} missing" for missing in plan.missing],
            {
                label: [found[data, m, name][0] for m in plan.missing]
                for name, label in INPUTS.items()
            },
            {
                label: [found[data, m, name][1] or 0.0 for m in plan.missing]
                for name, label in INPUTS.items()
            }
            if plan.repeats > 1
            else {},
        )
        for data in NAMES
    ]
    return Conclusion([Table(title, columns, rows)], bars, _claims(found, doubts))


Accuracies = Mapping[tuple[ImageSet, float, Input], tuple[float, float | None]]
Doubts = Mapping[tuple[ImageSet, float, Input], float]


def _key(data: ImageSet, missing: float, repeat: int) -> tuple[str, ...]:
    return data, f"{missing:g}", str(repeat)


def _chosen(
    trial: Trial, data: Data, seed: int
) -> tuple[Float32[np.ndarray, "n h w"], Int64[np.ndarray, " n"]]:
    """Returns random images in a random order; the first ones are those with labels."""
    images, labels = data.images(trial.data, "train")
    generator = numpy_stream(seed, "subset", trial.data, trial.repeat)
    which = generator.permutation(len(images))[: trial.images]
    return images[which], labels[which]


def _classified(
    trial: Trial,
    draws: Mapping[str, Draw],
    sparse: Sparse,
    labels: Int64[np.ndarray, " n"],
    *,
    seed: int,
    device: str,
) -> Outcome:
    known, truth = labels[: trial.labelled], labels[trial.labelled :]
    numbers, arrays = {}, {"truth": truth[:SHOWN]}
    for name, draw in draws.items():
        frequencies = classify(
            draw, sparse, known, trial.classifier, classes=CLASSES, seed=seed, device=device
        )
        numbers[f"accuracy_{name}"] = float((frequencies.argmax(1) == truth).mean())
        # 0 log 0 is 0.
        logs = np.log(np.where(frequencies > 0, frequencies, 1.0))
        numbers[f"doubt_{name}"] = float(-(frequencies * logs).sum(1).mean())
        arrays[f"frequencies_{name}"] = frequencies[:SHOWN]
    return Outcome(numbers, arrays)


def _over_repeats(
    outcomes: Outcomes, plan: Plan, data: ImageSet, missing: float, name: str
) -> tuple[float, float | None]:
    values = [
        float(outcomes[_key(data, missing, repeat)].numbers[name])
        for repeat in range(plan.repeats)
    ]
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def _claims(found: Accuracies, doubts: Doubts) -> list[Claim]:
    hard = [(data, m) for data, m, name in found if name == "tae" and m >= MUCH_MISSING]
    rivals: tuple[Input, ...] = ("mvae", "raw")
    claims = []
    for rival in rivals:
        gains = [found[*cell, "tae"][0] - found[*cell, rival][0] for cell in hard]
        claims.append(
            Claim(
                f"Much missing: a classifier of TAE draws beats one of {INPUTS[rival]} images",
                min(gains) > 0,
                f"by {min(gains):+.1%} to {max(gains):+.1%} at {MUCH_MISSING:.0%} or more",
            )
        )
    more = [doubts[*cell, "tae"] > doubts[*cell, "mvae"] for cell in hard]
    return [
        *claims,
        Claim(
            "Much missing: draws of one image are taken for more classes with TAE than with MVAE",
            all(more),
            f"in {sum(more)} of {len(more)} settings",
        ),
    ]
