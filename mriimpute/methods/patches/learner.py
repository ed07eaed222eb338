"""Models of patches learn by gradients."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mriimpute.cohort import (
    Cache,
    Cohort,
    PatchConfig,
    Patches,
    SparseScan,
    draw_patches,
    noise_level,
)
from mriimpute.distributed import ALONE, World
from mriimpute.errors import CheckpointError, ConfigError, TrainingError
from mriimpute.layers.noise import BatchRows
from mriimpute.methods.base import Gain, Learner
from mriimpute.methods.patches import models
from mriimpute.methods.patches.config import PatchTrainingConfig, prior_weight
from mriimpute.methods.patches.gain import gain_of
from mriimpute.methods.patches.hidden import HiddenConfig, with_hidden
from mriimpute.methods.patches.layers.fill import ObservedMean, fill_linear
from mriimpute.methods.patches.model import Model
from mriimpute.methods.patches.objective import objective, require_objective
from mriimpute.optim.config import learning_rate
from mriimpute.optim.descent import Descent
from mriimpute.seeds import numpy_stream, stream

__all__ = ["PatchLearner", "built"]

BEST = "best."
"""Before the names of the weights that gained most, in a checkpoint."""


def built(name: str, settings: Mapping[str, Any], *, seed: int) -> Model:
    """Returns a model with initial parameters that depend on the seed alone.

    Args:
        name: Of the model, as `--model` takes it.
        settings: Of its `Config`.
        seed: Names the random stream.

    Raises:
        ConfigError: If the model cannot be built from its settings.
    """
    try:
        return models.build(name, dict(settings), seed=seed)
    except ValueError as error:
        raise ConfigError(f"model: {error}", hint="change the value") from error


class PatchLearner(Learner):
    """Minimises an objective over random patches of sparse scans.

    Args:
        name: Of the model, as `--model` takes it.
        model: Settings of the model.
        patches: How patches are drawn.
        hidden: What of them encoders do not see.
        train: How long and how fast it learns.
        seed: Names all random streams.
        device: "cpu" or "cuda:N".
        world: The processes that share each batch. They take the steps of a process that is
            alone, and all come to the same parameters; only the main one validates.

    Raises:
        ConfigError: If the model cannot be built from its settings, or has no such objective.
    """

    unit = counter = "patches"
    is_shared = True

    def __init__(
        self,
        name: str,
        *,
        model: Mapping[str, Any],
        train: PatchTrainingConfig,
        patches: PatchConfig | None = None,
        hidden: HiddenConfig | None = None,
        seed: int,
        device: str,
        world: World = ALONE,
    ) -> None:
        self.config, self.patches = train, patches or PatchConfig()
        self.hidden = hidden or HiddenConfig()
        self.grid = tuple(model["patch"])
        self.seed, self.device, self.world = seed, device, world
        network = built(name, model, seed=seed)
        require_objective(network, train)
        self.sigma = float(network.sigma.detach())
        self.state: Descent[Model] = Descent(network, train, device)
        self.units, self.save_minutes = train.batch, train.save_minutes
        self.rows = world.shard(train.batch)
        self.loss, self.voxels = 0.0, 0  # since the last line of the journal
        self.scans: Sequence[SparseScan] = ()
        self.validation: list[Patches] = []
        self.best: dict[str, Tensor] = {}
        self.best_gain: float | None = None  # dB, on hidden lines of validation scans
        self.worse = 0  # lines of the journal since
        self.first = 0
        for module in network.modules():
            if isinstance(module, ObservedMean) and world.size > 1:
                module.add_up = world.all_reduce  # its means are those of the whole batch

    @classmethod
    def tables(cls, name: str) -> dict[str, type]:
        """Returns the tables of settings: "model", "patches", "hidden" and "train"."""
        return {
            "model": models.config_of(name),
            "patches": PatchConfig,
            "hidden": HiddenConfig,
            "train": PatchTrainingConfig,
        }

    @classmethod
    def build(
        cls, name: str, *, seed: int, device: str, world: World, **tables: Any
    ) -> "PatchLearner":
        """Returns the learner at the beginning of a run."""
        settings = {**tables, "model": asdict(tables["model"])}
        return cls(name, seed=seed, device=device, world=world, **settings)

    def steps(self, scans: Cohort) -> int:
        """Returns the steps of the whole run."""
        return self.config.steps

    def prepare(self, scans: Cohort, cache: Cache) -> None:
        """Opens the scans to learn from, and draws the patches of the validation loss."""
        self.scans = [cache.sparse(path) for path in scans.train]
        self.settle_noise()
        val = [cache.sparse(path) for path in scans.val if self.world.main]
        size = self.config.batch
        batches = range(-(-self.config.val_patches // size)) if val else ()
        self.validation = [self._drawn(val, "validation", n, slice(None)) for n in batches]

    def settle_noise(self) -> None:
        """Fixes the noise level, unless it is to be learnt."""
        if self.config.noise == "learnt":
            return
        is_measured = self.config.noise == "measured" and self.scans
        sigma = noise_level(self.scans) if is_measured else self.sigma
        for model in (self.state.model, self.state.average):
            model.fix_noise(sigma)

    def batch(self, step: int) -> Patches:
        """Returns the patches of a step: those of this process alone."""
        return self._drawn(self.scans, "patches", step, self.rows)

    def step(self, step: int, batch: Any) -> None:
        """Moves the parameters along the gradient of the loss per observed voxel."""
        generator = stream(self.seed, "train", step, device=self.device)
        if self.world.size > 1:
            generator = BatchRows(generator, self.rows, self.config.batch)
        weight = prior_weight(self.config, step)
        loss, own_voxels = self._loss(self.state.model, batch, weight, generator)
        voxels = int(self.world.total(own_voxels))
        (loss / max(voxels, 1)).backward()
        total = loss.detach()
        self.state.add_up(self.world, total)
        value = float(total)
        norm = self.state.descend(learning_rate(self.config, step))
        if not (abs(value) < float("inf") and norm < float("inf")):
            raise TrainingError(
                f"the loss is {value:g} and its gradient {norm:g} at step {step}, "
                f"with patches of {', '.join(sorted(set(batch.names)))}",
                hint="look at these scans; or lower --set train.rate, or train.precision=float32",
            )
        self.loss += value
        self.voxels += voxels

    def is_reported(self) -> bool:
        """Tells whether `report` patches have been learnt from since the last line."""
        before, now = ((self.done - n) * self.config.batch for n in (1, 0))
        return now // self.config.report > before // self.config.report

    def report(self, seconds: float) -> dict[str, Any]:
        """Returns the losses per observed voxel, in nats."""
        patches, step = self.done * self.config.batch, self.done - 1
        validated = self._validated()
        self._keep_best(validated.get("val_gain_db"))
        line = {
            "step": self.done,
            "patches": patches,
            "loss": self.loss / max(self.voxels, 1),
            **validated,
            "sigma": float(self.state.average.sigma),
            "rate": learning_rate(self.config, step),
            "weight": prior_weight(self.config, step),
            "seconds": round(seconds, 3),
            "patches_per_second": round((patches - self.first) / seconds, 2),
        }
        self.loss, self.voxels = 0.0, 0
        return line

    def model(self) -> dict[str, Tensor]:
        """Returns the moving average of the parameters, as it was where it gained most.

        At the end, or at no report yet, where nothing is validated.
        """
        return self.best or self.state.average.state_dict()

    def tensors(self) -> dict[str, Tensor]:
        """Returns parameters, their moving average, its best, and the state of the optimiser."""
        best = {f"{BEST}{name}": tensor for name, tensor in self.best.items()}
        return self.state.tensors() | best

    def numbers(self) -> dict[str, Any]:
        """Returns the position in the run, and the loss since the last line of the journal."""
        own = {"step": self.done, "nats": self.loss, "voxels": self.voxels, "worse": self.worse}
        return own | ({} if self.best_gain is None else {"best_gain": self.best_gain})

    def load(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any], where: Path) -> None:
        """Becomes what `tensors` and `numbers` came from."""
        try:
            step, loss, voxels = (numbers[key] for key in ("step", "nats", "voxels"))
            self.loss, self.voxels, self.done = float(loss), int(voxels), int(step)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{where} does not say where the run was", hint="begin anew with --overwrite"
            ) from error
        self.best_gain, self.worse = numbers.get("best_gain"), int(numbers.get("worse", 0))
        self.state.load(tensors, self.done, where=str(where))
        self.best = {
            name.removeprefix(BEST): tensor
            for name, tensor in tensors.items()
            if name.startswith(BEST)
        }
        self.first = self.done * self.config.batch

    def gain(self, journal: Sequence[Mapping[str, Any]]) -> Gain | None:
        """Returns what hidden lines of validation scans say, and how their loss changed."""
        return gain_of(journal)

    @property
    def settled(self) -> bool:
        """Whether hidden lines say that there is no more to learn."""
        return 0 < self.config.patience <= self.worse

    def _keep_best(self, gain: float | None) -> None:
        """Keeps the moving average where it gains more than ever."""
        if gain is None:
            return
        if self.best_gain is None or gain > self.best_gain:
            now = self.state.average.state_dict()
            self.best, self.best_gain = {name: now[name].clone() for name in now}, gain
            self.worse = 0
        elif prior_weight(self.config, self.done) == 1:
            self.worse += 1

    def _drawn(
        self, scans: Sequence[SparseScan], purpose: str, number: int, rows: slice
    ) -> Patches:
        patches = draw_patches(
            scans,
            self.grid,
            self.config.batch,
            config=self.patches,
            generator=numpy_stream(self.seed, purpose, number),
            rows=rows,
        )
        if self.config.objective == "evidence":  # an exact posterior learns nothing from it
            return patches
        is_judged = purpose == "validation"
        hidden = self.hidden.lines_alone() if is_judged else self.hidden
        first = rows.start or 0
        return with_hidden(
            patches,
            hidden,
            lambda row: numpy_stream(self.seed, "hidden", purpose, number, first + row),
        )

    def _loss(
        self, model: Model, patches: Patches, weight: float, generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], int]:
        """Returns the objective summed over patches, and how many voxels it explains."""
        y = torch.from_numpy(patches.y).to(self.device)
        observed = torch.from_numpy(patches.observed).to(self.device)
        shown = None if patches.shown is None else torch.from_numpy(patches.shown).to(self.device)
        kind = y.device.type
        mixed = kind == "cuda" and self.config.precision == "bfloat16"
        with torch.autocast(kind, torch.bfloat16, enabled=mixed):
            loss = objective(
                model,
                y,
                observed,
                self.config,
                weight=weight,
                generator=generator,
                shown=shown,
            )
        return loss.sum(), int(patches.observed.sum())

    @torch.no_grad()
    def _validated(self) -> dict[str, float | None]:
        """Returns the loss per observed voxel of validation scans, in nats; None without scans.

        Where lines are hidden in these, also the gain in PSNR over their linear interpolation.
        """
        total, voxels, ours, linear = 0.0, 0, 0.0, 0.0
        for n, patches in enumerate(self.validation):
            generator = stream(self.seed, "watch", n, device=self.device)
            loss, count = self._loss(self.state.average, patches, 1.0, generator)
            total, voxels = total + float(loss), voxels + count
            squares = self._hidden_squares(patches)
            ours, linear = ours + squares[0], linear + squares[1]
        found = {"val_loss": total / max(voxels, 1) if self.validation else None}
        if ours > 0 and linear > 0:
            found["val_gain_db"] = round(10 * math.log10(linear / ours), 4)
        return found

    def _hidden_squares(self, patches: Patches) -> tuple[float, float]:
        """Returns squared errors of the model and of interpolation, over hidden voxels."""
        if patches.shown is None:
            return 0.0, 0.0
        y, observed, shown = (
            torch.from_numpy(part).to(self.device)
            for part in (patches.y, patches.observed, patches.shown)
        )
        model, hidden = self.state.average, observed & ~shown
        recovery = model.recovery(y, shown)
        mean = recovery.voxels(recovery.latent.loc[None]).loc[0]
        errors = (torch.where(hidden, y - x, 0.0) for x in (mean, fill_linear(y, shown)))
        ours, linear = (float(error.square().sum(dtype=torch.float64)) for error in errors)
        return ours, linear
