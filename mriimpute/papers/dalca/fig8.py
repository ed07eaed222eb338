"""conv-sparse against Deep Image Prior, as less and less of an image is observed.

conv-sparse learns from a training set of sparse images and completes test images in one pass. A
Deep Image Prior fits the same decoder to each test image alone, for a fixed number of steps, or
until the prediction of a tenth of the observed pixels, held out, gets worse ("early"). All are
scored on the same test images, over the missing pixels (of brain slices: of the brain).

Pixels of MNIST-2 and of class 1 of Fashion-MNIST (trousers) are missing at random; of brain
slices, parallel lines at a random angle are, and the sparsity is their distance. Seconds are
those of this machine, of one image at a time, and mean something as a ratio only.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from mriimpute.config import parse
from mriimpute.methods.deep_image_prior.fit import PriorConfig, deep_image_prior
from mriimpute.methods.patches.completion import complete
from mriimpute.methods.patches.model import Model
from mriimpute.papers.dalca._fig8 import METHODS, NAMES, Method, conclusion
from mriimpute.papers.dalca.config import Effort, network_schedule, settings_of
from mriimpute.papers.dalca.data import PARTS, Slices, divided, photographs, sparse_slices
from mriimpute.papers.dalca.methods import Splits, complete_all, score, train_network
from mriimpute.papers.data import Data
from mriimpute.papers.experiment import Budget, Conclusion, Outcome, Outcomes, Task
from mriimpute.papers.sparse import Sparse, pad_to, random_missing
from mriimpute.seeds import numpy_stream, stream

__all__ = ["DATA", "SOURCE", "TITLE", "conclude", "perform", "tasks"]

TITLE = "conv-sparse against Deep Image Prior as sparsity grows"
SOURCE = "Dalca et al. 2019, section 4.5 and Fig. 8; times: 18.6 +- 13.7 ms and 36.5 +- 0.2 s"
DATA: tuple[str, ...] = ("mnist", "fashion", "scans")

TIMED = 20  # passes, after one that is not counted


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The size of the experiment.

    Attributes:
        missing: Per cent of the pixels that are removed from digits and clothing.
        every: Distances of the lines that brain slices keep, in voxels.
        counts: Images to train on, to watch and to score.
        slices: The data set of brain slices; `every` is replaced.
        slices_scored: Test slices at most.
        flat: Effort for digits and clothing.
        brain: Effort for brain slices.
        steps: Of a Deep Image Prior; the paper has 1000.
    """

    missing: tuple[int, ...]
    every: tuple[int, ...]
    counts: tuple[int, int, int]
    slices: Slices
    slices_scored: int
    flat: Effort
    brain: Effort
    steps: int = 1000


PLANS: dict[Budget, Plan] = {
    "smoke": Plan(
        missing=(75, 90),
        every=(3, 6),
        counts=(96, 16, 2),
        slices=Slices(every=6, size=(80, 80), around=0, step=2, subjects=6),
        slices_scored=2,
        flat=Effort(
            levels=2, channels=4, local=4, network=network_schedule(96, 16, 3e-3, 0.9), draws=2
        ),
        brain=Effort(
            levels=2, channels=4, local=4, network=network_schedule(24, 4, 3e-3, 0.9), draws=2
        ),
        steps=20,
    ),
    "cpu": Plan(
        missing=(50, 75, 90, 95),
        every=(2, 3, 4, 6),
        counts=(3000, 128, 3),
        slices=Slices(every=6, size=(80, 80), around=3, step=2),
        slices_scored=3,
        flat=Effort(
            levels=3, channels=8, local=8, network=network_schedule(8800, 16, 3e-3, 0.98), draws=10
        ),
        brain=Effort(
            levels=3, channels=8, local=16, network=network_schedule(2800, 4, 3e-3, 0.98), draws=10
        ),
    ),
    "paper": Plan(
        missing=(50, 75, 90, 95, 98),
        every=(2, 3, 4, 6, 8),
        counts=(100_000, 1000, 20),
        slices=Slices(every=6, size=(96, 96), around=6, step=1),
        slices_scored=18,
        flat=Effort(network=network_schedule(400_000, 64, 1e-3, 0.999), draws=50),
        brain=Effort(local=22, network=network_schedule(160_000, 16, 1e-3, 0.999), draws=50),
    ),
}


def tasks(budget: Budget, seed: int) -> list[Task]:
    """Returns one task per data set, sparsity and method."""
    plan = PLANS[budget]
    found = []
    for name in NAMES:
        brain = name == "slices"
        effort = plan.brain if brain else plan.flat
        for level in plan.every if brain else plan.missing:
            corpus: dict[str, Any] = (
                {"slices": asdict(plan.slices) | {"every": level}, "scored": plan.slices_scored}
                if brain
                else {"counts": plan.counts}
            )
            found += [
                Task(
                    key=(name, str(level), method),
                    settings={
                        "corpus": corpus,
                        "method": method,
                        "effort": _settings(method, effort, plan.steps),
                    },
                )
                for method in METHODS
            ]
    return found


def _settings(method: Method, effort: Effort, steps: int) -> dict[str, Any]:
    if method == "conv-sparse":
        return settings_of(method, effort)
    prior = PriorConfig(
        steps=steps,
        hold_out=0.1 if method == "dip-early" else 0.0,
        levels=effort.levels,
        channels=effort.channels,
        widest=effort.widest,
        latents=effort.local,
    )
    return asdict(prior)


def perform(task: Task, data: Data, *, seed: int, device: str) -> Outcome:
    """Completes the test images of one data set with one method, and takes the time."""
    settings, (name, level, _) = task.settings, task.key
    splits = _splits(data, name, int(level), settings["corpus"], seed)
    test, effort = splits.test, settings["effort"]
    if settings["method"] == "conv-sparse":
        model, numbers = train_network("conv-sparse", effort, splits, seed=seed, device=device)
        mean = complete_all(model, test, int(effort["draws"]), seed=seed)
        each = _passes(model, test, seed)
    else:
        mean, each, numbers = _priors(
            parse(PriorConfig, effort, where="prior"), test, seed, device
        )
    times = {"image_ms": float(np.mean(each)), "image_ms_std": float(np.std(each))}
    found = numbers | times | {"images_test": len(test)} | score(test, mean)
    return Outcome(found, {"mean": mean[:1, 0], "truth": test.truth[:1, 0], "y": test.y[:1, 0]})


def _splits(data: Data, name: str, level: int, corpus: Mapping[str, Any], seed: int) -> Splits:
    if name == "slices":
        slices = parse(Slices, corpus["slices"], where="slices")
        splits = sparse_slices(data, slices, seed)
        return splits._replace(test=splits.test.take(slice(int(corpus["scored"]))))
    images = (
        photographs(data, "mnist", 2) if name == "mnist-2" else photographs(data, "fashion", 1)
    )
    parts = []
    for part, truth in zip(PARTS, divided(images, corpus["counts"], seed, name), strict=True):
        generator = numpy_stream(seed, "pixels", name, level, part)
        parts.append(random_missing(truth, level / 100, 0.0, generator))
    return Splits(*parts)


def _passes(model: Model, test: Sparse, seed: int) -> list[float]:
    """Returns the milliseconds of single passes through encoder and decoder, image in and out."""
    device = model.sigma.device
    padded, each = pad_to(test.y, model.patch), []
    for n in range(TIMED + 1):
        begun = time.perf_counter()
        y = torch.from_numpy(padded[n % len(test)][None]).to(device)
        generator = stream(seed, "timing", n, device=device)
        complete(model, y, y.isfinite(), samples=1, generator=generator).mean.cpu()
        each.append(1000 * (time.perf_counter() - begun))
    return each[1:]


def _priors(
    config: PriorConfig, test: Sparse, seed: int, device: str
) -> tuple[Float32[np.ndarray, "n 1 h w"], list[float], dict[str, Any]]:
    """Returns images restored one by one, their milliseconds, and what was noted on the way."""
    images, each, stopped = [], [], []
    for image in test.y:
        begun = time.perf_counter()
        y = torch.from_numpy(image[None]).to(device)
        restored = deep_image_prior(y, y.isfinite(), config=config, seed=seed)
        images.append(restored.image[0].cpu().numpy())
        each.append(1000 * (time.perf_counter() - begun))
        stopped.append(restored.stopped_at)
    return np.stack(images), each, {"steps": config.steps, "stopped_at": stopped}


def conclude(outcomes: Outcomes, budget: Budget) -> Conclusion:
    """Returns errors by sparsity, run times, and what the paper says about them."""
    return conclusion(outcomes, PLANS[budget].steps)
