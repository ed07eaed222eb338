"""Accuracy of a classifier that learns from recovered images: corrupted, MVAE and TAE draws."""

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float32, Int64

from mriimpute.config import parse
from mriimpute.papers.data import Data, ImageSet, enough
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
    RecoveryConfig,
    TrainingBudget,
    Variant,
    corrupted,
    cpu_budget,
    train_model,
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
Key: TypeAlias = tuple[ImageSet, float, Input]
CLASSES = 10
MUCH_MISSING = 0.8  # where the paper sees the advantage
SHOWN = 200  # images whose frequencies are kept


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassificationConfig:
    """One repetition on one data set: the settings of a task, so names stay as on disk.

    Attributes:
        data: Name of the data.
        missing: Fraction of missing pixels.
        repeat: Images, labels and corruption are drawn anew for each.
        images: Corrupted images that there are.
        labelled: Of these, how many have labels; the others are classified.
        effort: Training and evaluation of each model.
        classifier: Training of the classifier, for each kind of input.
    """

    data: ImageSet
    missing: float
    repeat: int
    images: int
    labelled: int
    effort: TrainingBudget
    classifier: ClassifierConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a budget pays for.

    Attributes:
        missing: Fractions of missing pixels.
        repeats: Images, labels and corruption are drawn this often.
        images: See `ClassificationConfig`.
        labelled: See `ClassificationConfig`.
        training: Training and evaluation of each model.
        classifier: Training of the classifier, for each kind of input.
    """

    missing: tuple[float, ...]
    repeats: int
    images: int = 10_000
    labelled: int = 1000
    training: TrainingBudget
    classifier: ClassifierConfig


PLANS: dict[Budget, Plan] = {
    "smoke": Plan(
        missing=(0.5, 0.9),
        repeats=1,
        images=300,
        labelled=150,
        training=SMOKE,
        classifier=ClassifierConfig(steps=50, runs=5),
    ),
    "cpu": Plan(
        missing=(0.2, 0.5, 0.8, 0.9),
        repeats=1,
        training=cpu_budget(1500),
        classifier=ClassifierConfig(steps=1000, runs=20),
    ),
    "paper": Plan(
        missing=(0.2, 0.5, 0.8, 0.9),
        repeats=15,
        training=PAPER,
        classifier=ClassifierConfig(steps=10_000, runs=400),
    ),
}


def tasks(budget: Budget, seed: int) -> list[Task]:
    """Returns one task per data set, missing fraction and repeat."""
    plan = PLANS[budget]
    return [
        Task(
            key=_key(data, missing, repeat),
            settings=asdict(
                ClassificationConfig(
                    data=data,
                    missing=missing,
                    repeat=repeat,
                    images=plan.images,
                    labelled=plan.labelled,
                    effort=plan.training,
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
    config = parse(ClassificationConfig, task.settings)
    images, labels = _subset(config, data, seed)
    shared: dict[str, Any] = {
        "data": config.data,
        "missing": config.missing,
        "repeat": config.repeat,
        "effort": config.effort,
    }
    recoveries = {model: RecoveryConfig(model=model, **shared) for model in MODELS}
    sparse = corrupted(recoveries["mvae"], images, "train", seed)
    draws: dict[str, Draw] = {"raw": raw}
    for model, recovery in recoveries.items():
        draws[model] = of_posterior(train_model(recovery, sparse, seed=seed, device=device)[0])

    return _classified(config, draws, sparse, labels, seed=seed, device=device)


def _subset(
    config: ClassificationConfig, data: Data, seed: int
) -> tuple[Float32[np.ndarray, "n h w"], Int64[np.ndarray, " n"]]:
    """Returns random images in a random order; the first ones are those with labels."""
    images, labels = data.images(config.data, "train")
    enough(len(images), config.images, f"images of {NAMES[config.data]} to train")
    generator = numpy_stream(seed, "subset", config.data, config.repeat)
    which = generator.permutation(len(images))[: config.images]
    return images[which], labels[which]


def _classified(
    config: ClassificationConfig,
    draws: Mapping[str, Draw],
    sparse: Sparse,
    labels: Int64[np.ndarray, " n"],
    *,
    seed: int,
    device: str,
) -> Outcome:
    """Returns accuracy and mean entropy of the predicted classes, for each kind of input."""
    known, truth = labels[: config.labelled], labels[config.labelled :]
    numbers, arrays = {}, {"truth": truth[:SHOWN]}
    for name, draw in draws.items():
        frequencies = classify(
            draw, sparse, known, config.classifier, classes=CLASSES, seed=seed, device=device
        )
        numbers[f"accuracy_{name}"] = float((frequencies.argmax(1) == truth).mean())
        # 0 log 0 is 0.
        logs = np.log(np.where(frequencies > 0, frequencies, 1.0))
        numbers[f"doubt_{name}"] = float(-(frequencies * logs).sum(1).mean())
        arrays[f"frequencies_{name}"] = frequencies[:SHOWN]
    return Outcome(numbers, arrays)


def conclude(outcomes: Outcomes, budget: Budget) -> Conclusion:
    """Returns the accuracies as bars, as in the paper."""
    plan = PLANS[budget]
    accuracies = _by_input(outcomes, plan, "accuracy")
    entropies = {key: mean for key, (mean, _) in _by_input(outcomes, plan, "doubt").items()}
    rows: list[list[Cell]] = [
        [
            NAMES[data],
            f"{missing:.0%}",
            INPUTS[name],
            accuracy,
            std,
            entropies[data, missing, name],
            "figure only",
        ]
        for (data, missing, name), (accuracy, std) in accuracies.items()
    ]
    columns = ["data", "missing", "input", "accuracy", "+-", "entropy of classes", "paper"]
    title = "Accuracy on images without labels; entropy in nats of the classes of their draws"
    bars = [_bars(accuracies, plan, data) for data in NAMES]
    return Conclusion([Table(title, columns, rows)], bars, _claims(accuracies, entropies))


def _key(data: ImageSet, missing: float, repeat: int) -> tuple[str, ...]:
    return data, f"{missing:g}", str(repeat)


def _by_input(outcomes: Outcomes, plan: Plan, score: str) -> dict[Key, tuple[float, float | None]]:
    """Returns mean and standard deviation of a score over the repeats."""
    results = {}
    for data in NAMES:
        for missing in plan.missing:
            repeats = [outcomes[_key(data, missing, n)].numbers for n in range(plan.repeats)]
            for name in INPUTS:
                values = [float(numbers[f"{score}_{name}"]) for numbers in repeats]
                std = statistics.stdev(values) if len(values) > 1 else None
                results[data, missing, name] = statistics.fmean(values), std
    return results


def _bars(
    accuracies: Mapping[Key, tuple[float, float | None]], plan: Plan, data: ImageSet
) -> Bars:
    def of_all(part: Literal[0, 1]) -> dict[str, list[float]]:
        return {
            label: [accuracies[data, m, name][part] or 0.0 for m in plan.missing]
            for name, label in INPUTS.items()
        }

    groups = [f"{missing:.0%} missing" for missing in plan.missing]
    error_bars = of_all(1) if plan.repeats > 1 else {}
    return Bars(NAMES[data], "accuracy", groups, of_all(0), error_bars)


def _claims(
    accuracies: Mapping[Key, tuple[float, float | None]], entropies: Mapping[Key, float]
) -> list[Claim]:
    hard = [(data, m) for data, m, name in accuracies if name == "tae" and m >= MUCH_MISSING]
    baselines: tuple[Input, ...] = ("mvae", "raw")
    claims = []
    for baseline in baselines:
        gains = [accuracies[*c, "tae"][0] - accuracies[*c, baseline][0] for c in hard]
        claims.append(
            Claim(
                f"Much missing: a classifier of TAE draws beats one of {INPUTS[baseline]} images",
                min(gains) > 0,
                f"by {min(gains):+.1%} to {max(gains):+.1%} at {MUCH_MISSING:.0%} or more",
            )
        )
    larger = [entropies[*c, "tae"] > entropies[*c, "mvae"] for c in hard]
    return [
        *claims,
        Claim(
            "Much missing: draws of one image are taken for more classes with TAE than with MVAE",
            all(larger),
            f"in {sum(larger)} of {len(larger)} settings",
        ),
    ]
