"""Gaussian subspaces, and mixtures of them, learn by expectation maximisation.

Patches are drawn once: a step is an iteration over all of them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, assert_never

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mriimpute.checkpoint import restore, understood
from mriimpute.cohort import Cache, Cohort, PatchConfig, SparseScan, draw_patches
from mriimpute.distributed import World
from mriimpute.errors import TrainingError
from mriimpute.methods.base import Gain, Learner
from mriimpute.methods.patches import models
from mriimpute.methods.patches.config import EmConfig
from mriimpute.methods.patches.em import em_step
from mriimpute.methods.patches.gain import gain_of
from mriimpute.methods.patches.learner import built
from mriimpute.methods.patches.mixture_em import begin_mixture, mixture_step
from mriimpute.methods.patches.models.mixture_ppca import MixturePpca
from mriimpute.methods.patches.models.ppca import Ppca
from mriimpute.methods.patches.objectives.evidence import negative_log_evidence
from mriimpute.seeds import numpy_stream

__all__ = ["EmLearner"]

Batch = tuple[Float[Tensor, "_ 1 ..."], Bool[Tensor, "_ 1 ..."]]


class EmLearner(Learner):
    """Raises the evidence of the same patches in every iteration.

    Args:
        name: Of the model, as `--model` takes it.
        model: Settings of the model.
        patches: How patches are drawn.
        train: From how many, and for how long.
        seed: Names all random streams.
        device: "cpu" or "cuda:N".

    Raises:
        ConfigError: If the model cannot be built from its settings.
    """

    unit, counter = "iterations", "iteration"

    def __init__(
        self,
        name: str,
        *,
        model: Mapping[str, Any],
        patches: PatchConfig,
        train: EmConfig,
        seed: int,
        device: str,
    ) -> None:
        self.config, self.patches, self.seed, self.device = train, patches, seed, device
        self.grid = tuple(model["patch"])
        subspace = built(name, model, seed=seed)
        if not isinstance(subspace, Ppca | MixturePpca):
            raise TypeError(f"{name} is no Gaussian subspace")
        self.subspace = subspace.to(device).requires_grad_(requires_grad=False)
        self.batches: list[Batch] = []
        self.validation: list[Batch] = []
        self.loss: tuple[float, float | None] = (math.nan, None)

    @classmethod
    def tables(cls, name: str) -> dict[str, type]:
        """Returns the tables of settings of a model: "model", "patches" and "train"."""
        return {"model": models.config_of(name), "patches": PatchConfig, "train": EmConfig}

    @classmethod
    def build(
        cls, name: str, *, seed: int, device: str, world: World, **tables: Any
    ) -> "EmLearner":
        """Returns the learner at the beginning of a run."""
        return cls(name, seed=seed, device=device, **{**tables, "model": asdict(tables["model"])})

    def steps(self, scans: Cohort) -> int:
        """Returns the iterations."""
        return self.config.iterations

    def prepare(self, scans: Cohort, cache: Cache) -> None:
        """Draws all patches."""
        train, val = ([cache.sparse(path) for path in part] for part in (scans.train, scans.val))
        self.batches = self._drawn(train, "patches", self.config.patches)
        self.validation = self._drawn(val, "validation", self.config.val_patches)
        if self.done == 0 and isinstance(self.subspace, MixturePpca):
            begin_mixture(self.subspace, self.batches)

    def step(self, step: int, batch: Any) -> None:
        """Takes an iteration."""
        before, loss = self._iterated(), self._validated()
        if not all(math.isfinite(value) for value in (before, loss or 0.0)):
            raise TrainingError(
                f"the evidence is not finite after iteration {step + 1}",
                hint="raise --set train.kappa, or lower --set model.latents",
            )
        voxels = _voxels(self.batches) / self.config.patches
        self.loss = -before / voxels, loss

    def report(self, seconds: float) -> dict[str, Any]:
        """Returns the losses per observed voxel, in nats; the first is that before the step."""
        return {
            "iteration": self.done,
            "loss_before": self.loss[0],
            "val_loss": self.loss[1],
            "sigma": float(self.subspace.sigma),
            "seconds": round(seconds, 3),
        }

    def model(self) -> dict[str, Tensor]:
        """Returns the parameters."""
        return self.subspace.state_dict()

    def tensors(self) -> dict[str, Tensor]:
        """Returns the parameters."""
        return self.subspace.state_dict()

    def load(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any], where: Path) -> None:
        """Becomes what `tensors` and `numbers` came from."""
        restore(self.subspace, tensors, where=str(where))
        with understood(where):
            self.done = int(numbers["step"])

    def _iterated(self) -> float:
        """Improves the model and returns the mean evidence per patch before, in nats."""
        match self.subspace:
            case Ppca():
                return em_step(self.subspace, self.batches, kappa=self.config.kappa)
            case MixturePpca():
                return mixture_step(self.subspace, self.batches, kappa=self.config.kappa)
            case _ as unknown:
                assert_never(unknown)

    def _validated(self) -> float | None:
        """Returns the negative evidence per observed voxel, in nats; None without patches."""
        if not self.validation:
            return None
        losses = (negative_log_evidence(self.subspace, *batch) for batch in self.validation)
        return sum(float(loss.double().sum()) for loss in losses) / _voxels(self.validation)

    def gain(self, journal: Sequence[Mapping[str, Any]]) -> Gain | None:
        """Returns how the validation loss changed."""
        return gain_of(journal)

    def _drawn(self, scans: Sequence[SparseScan], purpose: str, count: int) -> list[Batch]:
        """Returns so many patches, the same ones for the same seed; none without scans."""
        batches: list[Batch] = []
        size = self.config.batch
        for n in range(-(-count // size) if scans else 0):
            patches = draw_patches(
                scans,
                self.grid,
                min(size, count - n * size),
                config=self.patches,
                generator=numpy_stream(self.seed, purpose, n),
            )
            y, observed = (
                torch.from_numpy(x).to(self.device) for x in (patches.y, patches.observed)
            )
            batches.append((y, observed))
        return batches


def _voxels(batches: Sequence[Batch]) -> int:
    return max(sum(int(observed.sum()) for _, observed in batches), 1)
