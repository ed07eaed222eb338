"""Every method that the package brings, on the same made-up head."""

import itertools
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np
import torch

from mriimpute.bench.phantom import TINY, Shape, sparse_head, target_shape
from mriimpute.bench.timing import Memory, Timing, resident_bytes, timed
from mriimpute.bench.training import Step, training_step
from mriimpute.cohort import in_space
from mriimpute.interpolation import Kind
from mriimpute.methods.base import Imputation, Imputer
from mriimpute.methods.patches import models
from mriimpute.methods.patches.imputer import BATCH, PatchImputer
from mriimpute.methods.patches.tiling import Lattice
from mriimpute.methods.registry import DEFAULT, load_imputer, trainable, without_weights
from mriimpute.training.settings import preset

__all__ = ["MethodCost", "Weights", "measurable", "measure"]

Weights = Literal["package", "none", "random"]
"""Where a model's numbers come from; "random": untrained, which takes the same arithmetic."""

SMALL: Shape = (36, 36, 37)
"""Grid on which a model of patches is measured: groups of patches all take as long."""


@dataclass(frozen=True, slots=True)
class MethodCost:
    """What a method costs.

    Attributes:
        name: Of the method or the model.
        weights: Where its numbers come from.
        shape: Grid that the times are for.
        measured_on: Grid that was imputed; where it is smaller, times were multiplied.
        volume: Seconds of a conditional mean, with its std where there is one; no files.
        draw: Seconds of a draw, after the mean; None where there is none.
        step: Of training; None where nothing is trained step by step.
        memory: Of the process, for the mean of the grid that was imputed.
    """

    name: str
    weights: Weights
    shape: Shape
    measured_on: Shape
    volume: Timing
    draw: Timing | None
    step: Step | None
    memory: Memory

    @property
    def is_computed(self) -> bool:
        """Whether times were multiplied from those of a smaller grid."""
        return self.shape != self.measured_on


def measurable() -> list[str]:
    """Returns the names of what can be measured here: the default model first."""
    plain = [name for name in without_weights() if name in get_args(Kind)]
    return [DEFAULT, "cross-plane-ridge", *plain, *models.available()]


def measure(
    name: str, size: Shape, device: str, *, repeats: int, budget: float, steps: int
) -> MethodCost:
    """Returns what a method costs.

    Args:
        name: One of `measurable`.
        size: Of the imputed grid, about.
        device: "cpu" or "cuda:N".
        repeats: At most.
        budget: Seconds after which no further repetition begins.
        steps: Of training; 0 for none.
    """
    before = resident_bytes()
    imputer, weights = _imputer(name, device)
    small = min(SMALL, size, key=np.prod) if weights == "random" else size
    volume = sparse_head(small)
    fraction = _work_fraction(imputer, small, size)
    seconds = partial(timed, repeats=repeats, device=device, per=fraction, budget=budget)
    imputations: list[Imputation] = []

    def impute() -> None:
        imputations[:] = [imputer.impute(volume, seed=0, case="bench")]

    with torch.inference_mode():
        imputer.impute(sparse_head(TINY), seed=0, case="bench")
        mean = seconds(impute, warm_up=0)
        memory = Memory.since(before, device)
        draw, numbers = imputations[0].draw, itertools.count(1)
        draw_seconds = seconds(lambda: draw(next(numbers))) if draw else None
    is_stepwise = steps and name in trainable()
    return MethodCost(
        name=name,
        weights=weights,
        shape=target_shape(size),
        measured_on=target_shape(small),
        volume=mean,
        draw=draw_seconds,
        step=training_step(name, small, device, repeats=steps) if is_stepwise else None,
        memory=memory,
    )


def _work_fraction(imputer: Imputer, small: Shape, whole: Shape) -> float:
    """Returns the fraction of the work of a whole grid that a small one is."""
    if not isinstance(imputer, PatchImputer):
        return 1.0
    extent = in_space(imputer.model.patch, slice_axis=2)
    groups = [len(Lattice(target_shape(size), extent, BATCH).groups()) for size in (small, whole)]
    return groups[0] / groups[1]


def _imputer(name: str, device: str) -> tuple[Imputer, Weights]:
    if name in models.available():
        model = models.build(name, preset(name)["model"], seed=0)
        return PatchImputer(model, name, device=device), "random"
    imputer = load_imputer(name, device=device)
    return imputer, "package" if name == DEFAULT else "none"
