"""What the experiments of Tonolini et al. share: posteriors learnt from corrupted images.

The posteriors q(x | y) of `mvae`, `miwae` and `tae` have one structure, are learnt from the same
corrupted images in as many steps, and are evaluated in the same way: as densities of the clean
images (supplement C.3), by their mean, and by draws with and without pixel noise.

`mvae` and `miwae` explain what was observed, noise included, so their clean pixels are too
uncertain by just that noise; `tae` knows it. `mvae-denoised` is an `mvae` that knows it, too: what
it gains over `mvae` is owed to that knowledge, what `tae` gains over it to the inference.

Axes: n = images, s = draws, (h, w) = rows and columns.

References:
    Tonolini et al., Tomographic Auto-Encoder: Unsupervised Bayesian Recovery of Corrupted Data,
    2021, section 4 and supplements C and D.
"""

import dataclasses
import time
from dataclasses import dataclass
from typing import Any, Literal, assert_never

import numpy as np
from jaxtyping import Float32

from mriimpute.config import parse
from mriimpute.methods.patches.config import PatchTrainingConfig
from mriimpute.methods.patches.model import Model
from mriimpute.papers.data import Data, Split
from mriimpute.papers.experiment import Outcome, Task
from mriimpute.papers.fit import Journal, fit
from mriimpute.papers.sparse import Sparse, random_missing, window
from mriimpute.papers.tonolini.recovery import evaluate
from mriimpute.seeds import numpy_stream

__all__ = [
    "LABELS",
    "NOISE_STD",
    "PAPER",
    "SMOKE",
    "DataName",
    "RecoveryConfig",
    "TrainingBudget",
    "Variant",
    "corrupted",
    "cpu_budget",
    "perform",
    "task",
    "train_config",
    "train_model",
]

DataName = Literal["mnist", "fashion", "activity"]
Variant = Literal["mvae", "mvae-denoised", "miwae", "tae"]
Objective = Literal["elbo", "importance", "tomographic"]

LABELS: dict[str, str] = {
    "mvae": "MVAE",
    "mvae-denoised": "MVAE, noise known",
    "miwae": "MIWAE",
    "tae": "TAE",
}
NOISE_STD = 0.1  # supplement C.2
MIWAE_WEIGHTS = 20
LEAST_NOISE_STD = 0.02  # that `tae` assumes where there is none: p(y | x) must be a density


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingBudget:
    """Training and evaluation of one posterior; the defaults suit a CPU.

    Attributes:
        images: Corrupted training images, at most.
        steps: Training steps.
        batch: Images per step.
        rate: Learning rate.
        final_rate: Learning rate at the end, as a fraction of `rate`; in between it is a cosine.
        gamma_start: Fraction of the run after which the weight of the prior of `tae` rises.
        gamma_end: Fraction of the run after which it is 1.
        tested: Test images whose density is bounded.
        bound_steps: Steps that fit q(z | x) of this bound: after 500 that of `tae` was 15 to 18
            nats below that after 2,000, that of `mvae` 1 (MNIST).
        drawn: Test images, out of these, that are recovered and compared with the truth.
        draws: Draws of each of these.
    """

    images: int = 60_000
    steps: int
    batch: int = 32
    rate: float = 1e-3
    final_rate: float = 0.02
    gamma_start: float = 0.1
    gamma_end: float = 0.2
    tested: int = 1000
    bound_steps: int = 2000
    drawn: int = 250
    draws: int = 40


def cpu_budget(steps: int) -> TrainingBudget:
    """Returns a budget for a CPU: few steps, of which the prior of `tae` waits longer.

    The prior learns from samples of the posterior. Where it gains weight before these are good,
    both settle on poor ones: with 5,000 steps for MNIST at 50 %, the objective itself ends better
    for a warm-up of 30 to 80 % of the run (0.860 nats per observed pixel) than for the paper's
    10 to 20 % (0.889).
    """
    return TrainingBudget(steps=steps, gamma_start=0.3, gamma_end=0.8)


PAPER = TrainingBudget(
    steps=500_000,
    batch=20,
    rate=2e-4,
    final_rate=1.0,
    tested=10_000,
    bound_steps=20_000,
    drawn=1000,
    draws=100,
)
"""Supplement C.2; it does not say how long q(z | x) of the evaluation bound was trained."""

SMOKE = TrainingBudget(images=1000, steps=60, tested=64, bound_steps=40, drawn=32, draws=20)


@dataclass(frozen=True, kw_only=True, slots=True)
class RecoveryConfig:
    """One model of one corrupted data set: the settings of a task, so names stay as on disk.

    Attributes:
        data: Name of the data.
        model: Name of the model.
        missing: Fraction of missing pixels.
        window: Edge of the only visible window, in pixels; 0 for pixels missing at random.
        noise_std: Standard deviation of the noise on what was observed.
        repeat: The corruption is drawn anew for each.
        localisation: C of `tae`, in nats.
        strength: Lambda of `tae`.
        effort: Training and evaluation.
    """

    data: DataName
    model: Variant
    missing: float = 0.0
    window: int = 0
    noise_std: float = NOISE_STD
    repeat: int = 0
    localisation: float = 10.0
    strength: float = 2.0
    effort: TrainingBudget


def task(config: RecoveryConfig, *key: str) -> Task:
    """Returns the task of `perform`, without what only `tae` depends on for the other models."""
    settings = dataclasses.asdict(config)
    if config.model != "tae":
        plain = TrainingBudget(steps=config.effort.steps)
        settings["effort"] |= {"gamma_start": plain.gamma_start, "gamma_end": plain.gamma_end}
    return Task(key=key, settings=settings)


def perform(task: Task, data: Data, *, seed: int, device: str) -> Outcome:
    """Trains one model, and evaluates its posterior on test images."""
    config = parse(RecoveryConfig, task.settings)
    train = corrupted(config, _clean_images(config, data, "train", seed), "train", seed)
    begun = time.monotonic()
    model, journal = train_model(config, train, seed=seed, device=device)
    seconds = time.monotonic() - begun
    test = corrupted(config, _clean_images(config, data, "test", seed), "test", seed)
    outcome = evaluate(
        model,
        test,
        bound_steps=config.effort.bound_steps,
        drawn=config.effort.drawn,
        draws=config.effort.draws,
        seed=seed,
        device=device,
    )
    numbers = {"train_seconds": seconds, "images": len(train), "journal": journal}
    return dataclasses.replace(outcome, numbers=outcome.numbers | numbers)


def _clean_images(
    config: RecoveryConfig, data: Data, part: Split, seed: int
) -> Float32[np.ndarray, "n h w"]:
    """Returns random images of a part of the data: the same ones for every model."""
    if config.data == "activity":
        images = data.activity(part)
    else:
        images = data.images(config.data, part).images
    wanted = config.effort.images if part == "train" else config.effort.tested
    order = numpy_stream(seed, "chosen", config.data, part).permutation(len(images))
    return images[np.sort(order[:wanted])]


def corrupted(
    config: RecoveryConfig, images: Float32[np.ndarray, "n h w"], part: Split, seed: int
) -> Sparse:
    """Returns corrupted images: the same for every model."""
    generator = numpy_stream(seed, "corruption", config.data, part, config.repeat)
    if config.window:
        return window(images, config.window, config.noise_std, generator)
    return random_missing(images, config.missing, config.noise_std, generator)


def train_model(
    config: RecoveryConfig, train: Sparse, *, seed: int, device: str
) -> tuple[Model, Journal]:
    """Returns the trained model, and its journal."""
    budget = config.effort
    name, settings, objective = _recipe(config)
    training = train_config(
        objective,
        steps=budget.steps,
        batch=budget.batch,
        rate=budget.rate,
        final_rate=budget.final_rate,
        warm_up=(budget.gamma_start, budget.gamma_end),
        draws=MIWAE_WEIGHTS if name == "miwae" else 1,
    )
    return fit(name, settings, training, train, seed=seed, device=device)


def train_config(
    objective: Objective,
    *,
    steps: int,
    batch: int,
    rate: float,
    final_rate: float,
    warm_up: tuple[float, float],
    draws: int = 1,
) -> PatchTrainingConfig:
    """Returns the training of a posterior; only the prior of `tae` has a warm-up.

    Args:
        objective: Name of the objective.
        steps: Training steps.
        batch: Images per step.
        rate: Learning rate.
        final_rate: Learning rate at the end, as a fraction of `rate`.
        warm_up: Fractions of the run between which the weight of the prior rises.
        draws: Draws per image and step.
    """
    start, end = warm_up if objective == "tomographic" else (0.0, 0.0)
    images = steps * batch
    return PatchTrainingConfig(
        objective=objective,
        noise="learnt",  # what is known of it is a setting of the model
        patches=images,
        batch=batch,
        draws=draws,
        rate=rate,
        final_rate=final_rate,
        warm_up_start=start,
        warm_up_end=end,
        weight_decay=0.0,
        precision="float32",
        report=max(1, images // 10),
    )


def _recipe(config: RecoveryConfig) -> tuple[str, dict[str, Any], Objective]:
    """Returns the name of the model, its settings, and its objective."""
    match config.model:
        case "mvae":
            return "mvae", {}, "elbo"
        case "mvae-denoised":
            return "mvae", {"noise": config.noise_std}, "elbo"
        case "miwae":
            return "miwae", {"weights": MIWAE_WEIGHTS}, "importance"
        case "tae":
            settings = {
                "sigma": max(config.noise_std, LEAST_NOISE_STD),
                "learn_noise": False,
                "localisation": config.localisation,
                "strength": config.strength,
            }
            return "tae", settings, "tomographic"
        case _ as unknown:
            assert_never(unknown)
