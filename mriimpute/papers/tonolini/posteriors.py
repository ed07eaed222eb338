"""What the experiments of Tonolini et al. share: posteriors learnt from corrupted images, judged.

The posteriors q(x | y) of `mvae`, `miwae` and `tae` have one structure, are learnt from the same
corrupted images in as many steps, and are judged in the same way: as densities of the clean images
(supplement C.3), by their mean, and by draws with and without pixel noise.

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
from mriimpute.papers.tonolini.recovery import judge
from mriimpute.seeds import numpy_stream

__all__ = [
    "LABELS",
    "NOISE_STD",
    "PAPER",
    "SMOKE",
    "Case",
    "DataName",
    "Effort",
    "Variant",
    "brief",
    "clean_images",
    "corrupted",
    "learn",
    "run",
    "task",
]

DataName = Literal["mnist", "fashion", "activity"]
Variant = Literal["mvae", "mvae-denoised", "miwae", "tae"]

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
class Effort:
    """What one posterior may cost; the defaults suit a CPU.

    Attributes:
        images: Corrupted images to learn from, at most.
        steps: Of training.
        batch: Images per step.
        rate: Learning rate.
        final_rate: Learning rate at the end, as a share of `rate`; in between it is a cosine.
        gamma_start: Share of the run after which the weight of the prior of `tae` rises.
        gamma_end: Share of the run after which it is 1.
        tested: Test images whose density is bounded.
        bound_steps: Steps that fit q(z | x) of this bound.
        drawn: Test images, out of these, that are recovered and compared with the truth.
        draws: Of each.
    """

    images: int = 60_000
    steps: int
    batch: int = 32
    rate: float = 1e-3
    final_rate: float = 0.02
    gamma_start: float = 0.1
    gamma_end: float = 0.2
    tested: int = 1000
    bound_steps: int = 500
    drawn: int = 250
    draws: int = 40


def brief(steps: int) -> Effort:
    """Returns an effort for a CPU: few steps, of which the prior of `tae` waits longer.

    The prior learns from samples of the posterior. Where it gains weight before these are good,
    both settle on poor ones: with 5,000 steps for MNIST at 50 %, the objective itself ends better
    for a warm-up of 30 to 80 % of the run (0.860 nats per observed pixel) than for the paper's
    10 to 20 % (0.889).
    """
    return Effort(steps=steps, gamma_start=0.3, gamma_end=0.8)


PAPER = Effort(
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

SMOKE = Effort(images=1000, steps=60, tested=64, bound_steps=40, drawn=32, draws=20)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One model of one corrupted data set.

    Attributes:
        data: Name of the data.
        model: Name of the model.
        missing: Share of missing pixels.
        window: Edge of the only visible window; 0 for pixels missing at random.
        noise_std: Of the noise on what was observed.
        repeat: The corruption is drawn anew for each.
        localisation: C of `tae`.
        strength: Lambda of `tae`.
        effort: What it may cost.
    """

    data: DataName
    model: Variant
    missing: float = 0.0
    window: int = 0
    noise_std: float = NOISE_STD
    repeat: int = 0
    localisation: float = 10.0
    strength: float = 2.0
    effort: Effort


def task(case: Case, *key: str) -> Task:
    """Returns the task of `run` for a case, without what only `tae` depends on for the others."""
    if case.model != "tae":
        plain = Effort(steps=case.effort.steps)
        warm_up = {name: getattr(plain, name) for name in ("gamma_start", "gamma_end")}
        case = dataclasses.replace(case, effort=dataclasses.replace(case.effort, **warm_up))
    return Task(key=key, settings=dataclasses.asdict(case))


def run(task: Task, data: Data, *, seed: int, device: str) -> Outcome:
    """Learns the posterior of a case, and judges it on test images."""
    case = parse(Case, task.settings)
    train = corrupted(case, clean_images(case, data, "train", seed), "train", seed)
    begun = time.monotonic()
    model, journal = learn(case, train, seed=seed, device=device)
    seconds = time.monotonic() - begun
    test = corrupted(case, clean_images(case, data, "test", seed), "test", seed)
    outcome = judge(
        model,
        test,
        bound_steps=case.effort.bound_steps,
        drawn=case.effort.drawn,
        draws=case.effort.draws,
        seed=seed,
        device=device,
    )
    numbers = {"train_seconds": seconds, "images": len(train), "journal": journal}
    return dataclasses.replace(outcome, numbers=outcome.numbers | numbers)


def clean_images(case: Case, data: Data, part: Split, seed: int) -> Float32[np.ndarray, "n h w"]:
    """Returns random images of a part of the data: the same ones for every model."""
    if case.data == "activity":
        images = data.activity(part)
    else:
        images = data.images(case.data, part).images
    wanted = case.effort.images if part == "train" else case.effort.tested
    order = numpy_stream(seed, "chosen", case.data, part).permutation(len(images))
    return images[np.sort(order[:wanted])]


def corrupted(case: Case, images: Float32[np.ndarray, "n h w"], part: Split, seed: int) -> Sparse:
    """Returns the images as a case sees them: the same for every model."""
    generator = numpy_stream(seed, "corruption", case.data, part, case.repeat)
    if case.window:
        return window(images, case.window, case.noise_std, generator)
    return random_missing(images, case.missing, case.noise_std, generator)


def learn(case: Case, train: Sparse, *, seed: int, device: str) -> tuple[Model, Journal]:
    """Returns the model of a case, trained, and its journal."""
    effort = case.effort
    name, settings, objective = _recipe(case)
    warm_up = (effort.gamma_start, effort.gamma_end) if name == "tae" else (0.0, 0.0)
    images = effort.steps * effort.batch
    config = PatchTrainingConfig(
        objective=objective,
        patches=images,
        batch=effort.batch,
        draws=MIWAE_WEIGHTS if name == "miwae" else 1,
        rate=effort.rate,
        final_rate=effort.final_rate,
        warm_up_start=warm_up[0],
        warm_up_end=warm_up[1],
        weight_decay=0.0,
        precision="float32",
        report=max(1, images // 10),
    )
    return fit(name, settings, config, train, seed=seed, device=device, fused=True)


def _recipe(
    case: Case,
) -> tuple[str, dict[str, Any], Literal["elbo", "importance", "tomographic"]]:
    match case.model:
        case "mvae":
            return "mvae", {}, "elbo"
        case "mvae-denoised":
            return "mvae", {"noise": case.noise_std}, "elbo"
        case "miwae":
            return "miwae", {"weights": MIWAE_WEIGHTS}, "importance"
        case "tae":
            settings = {
                "sigma": max(case.noise_std, LEAST_NOISE_STD),
                "learn_noise": False,
                "localisation": case.localisation,
                "strength": case.strength,
            }
            return "tae", settings, "tomographic"
        case _ as unknown:
            assert_never(unknown)
