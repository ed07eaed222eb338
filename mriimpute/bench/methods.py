"""Every way of imputing that the package brings, on the same made-up head."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from mriimpute.bench.phantom import TINY, Shape, fine_shape, sparse_head
from mriimpute.bench.timing import Memory, Timing, resident_bytes, settled, timed
from mriimpute.bench.training import Step, training_step
from mriimpute.cohort import in_space
from mriimpute.interpolation import Kind
from mriimpute.methods.base import Imputation, Imputer
from mriimpute.methods.patches import models
from mriimpute.methods.patches.imputer import BATCH, PatchImputer
from mriimpute.methods.patches.tiling import Lattice
from mriimpute.methods.registry import DEFAULT, METHODS, load_imputer, trainable
from mriimpute.train.settings import preset

__all__ = ["Contender", "Weights", "measurable", "measured"]

Weights = Literal["package", "none", "random"]
"""Where a model's numbers come from; "random": untrained, which takes the same arithmetic."""

SMALL: Shape = (36, 36, 37)
"""Grid on which a model of patches is measured: groups of patches all take as long."""


@dataclass(frozen=True, slots=True)
class Contender:
    """What a way of imputing costs.

    Attributes:
        name: Of the method or the model.
        weights: Where its numbers come from.
        shape: Grid that the times are for.
        measured_on: Grid that was imputed; where it is smaller, times were multiplied.
        volume: Seconds of a conditional mean, with its spread where there is one; no files.
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
    plain = [name for name in METHODS if name in get_args(Kind)]
    return [DEFAULT, "cross-plane-ridge", *plain, *models.available()]


def measured(
    name: str, wanted: Shape, device: str, *, repeats: int, budget: float, steps: int
) -> Contender:
    """Returns what one way of imputing costs.

    Args:
        name: One of `measurable`.
        wanted: Of the imputed grid, about.
        device: "cpu" or "cuda:N".
        repeats: At most.
        budget: Seconds after which no further repetition begins.
        steps: Of training; 0 for none.
    """
    before = resident_bytes()
    imputer, weights = _imputer(name, device)
    small = min(SMALL, wanted, key=np.prod) if weights == "random" else wanted
    volume = sparse_head(small)
    share = _share(imputer, small, wanted)
    settle = settled(device)
    found: list[Imputation] = []

    def impute() -> None:
        found[:] = [imputer.impute(volume, seed=0, case="bench")]

    with torch.inference_mode():
        imputer.impute(sparse_head(TINY), seed=0, case="bench")
        mean = timed(impute, repeats=repeats, warm_up=0, settle=settle, per=share, budget=budget)
        memory = Memory.since(before, device)
        draw = _draw(found[0], repeats, device, share, budget)
    step = None
    if steps and name in trainable():
        step = training_step(name, small, device, repeats=steps)
    return Contender(
        name=name,
        weights=weights,
        shape=fine_shape(wanted),
        measured_on=fine_shape(small),
        volume=mean,
        draw=draw,
        step=step,
        memory=memory,
    )


def _share(imputer: Imputer, small: Shape, whole: Shape) -> float:
    """Returns the share of the work of a whole grid that a small one is."""
    if not isinstance(imputer, PatchImputer):
        return 1.0
    extent = in_space(imputer.model.patch, slice_axis=2)
    groups = [len(Lattice(fine_shape(one), extent, BATCH).groups()) for one in (small, whole)]
    return groups[0] / groups[1]


def _draw(
    imputed: Imputation, repeats: int, device: str, share: float, budget: float
) -> Timing | None:
    make = imputed.draw
    if make is None:
        return None
    numbers = iter(range(1, 10**6))
    return timed(
        lambda: make(next(numbers)),
        repeats=repeats,
        settle=settled(device),
        per=share,
        budget=budget,
    )


def _imputer(name: str, device: str) -> tuple[Imputer, Weights]:
    if name in models.available():
        model = models.build(name, preset(name)["model"], seed=0)
        return PatchImputer(model, name, device=device), "random"
    imputer = load_imputer(name, device=device)
    return imputer, "package" if name == DEFAULT else "none"
