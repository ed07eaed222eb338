"""`cross-plane` and `cross-plane-latent` learn from lines hidden inside acquired slices."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mriimpute.checkpoint import understood
from mriimpute.cohort import Cache, Cohort
from mriimpute.cohort.preprocess import Task
from mriimpute.cohort.slices import SliceScan, gaps_of, has_room, is_shown
from mriimpute.config import parse
from mriimpute.distributed import ALONE, World
from mriimpute.errors import ConfigError, TrainingError
from mriimpute.methods.base import Gain, Learner
from mriimpute.methods.cross_plane import LATENT
from mriimpute.methods.cross_plane.hidden_lines import LineConfig, Lines, draw_lines, whole_slices
from mriimpute.methods.cross_plane.latent_bound import objective
from mriimpute.methods.cross_plane.latent_network import LatentConfig, network_of
from mriimpute.methods.cross_plane.loss import Loss, interpolation_loss
from mriimpute.methods.cross_plane.network import Config, LineNetwork
from mriimpute.methods.cross_plane.validation import GapScore, ValidationSlice, validation_slices
from mriimpute.methods.cross_plane.weights import (
    Scores,
    adopt,
    as_started,
    better_weights,
    gain_db,
    mean_nll,
    scores_of,
    start_of,
)
from mriimpute.optim.config import TrainingConfig, learning_rate
from mriimpute.optim.descent import Descent
from mriimpute.seeds import numpy_stream

__all__ = ["LineLearner", "LineTrainingConfig"]

log = logging.getLogger(__name__)

LEAST_GAIN_DB = 0.005
"""What is printed as 0.01 dB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LineTrainingConfig(TrainingConfig):
    """How the cross-plane network learns; crops of slices are its patches.

    Attributes:
        start: From the weights of the "package", or from "scratch": random ones, which take
            longer; `--from-scratch` chooses both.
        loss: Of the mean, "squared" or "charbonnier".
    """

    start: Literal["package", "scratch"] = "package"
    loss: Loss = "squared"


class LineLearner(Learner):
    """Learns the mean, the std and, where the network has them, latent errors of hidden lines.

    It never ends with weights worse than those that it starts from: see `weights`.

    Args:
        name: "cross-plane" or "cross-plane-latent".
        model: Size of the network.
        lines: How lines are hidden.
        train: How long and how fast it learns.
        seed: Names all random streams.
        device: "cpu" or "cuda:N".
        world: The processes that share each batch. They take the steps of a process that is
            alone, and all come to the same parameters; only the main one validates.

    Raises:
        CheckpointError: If the weights to start from cannot be read.
        ConfigError: If they are missing, or of another size.
    """

    unit, counter = "crops", "patches"
    is_shared = True

    def __init__(
        self,
        name: str,
        *,
        model: Config,
        lines: LineConfig,
        train: LineTrainingConfig,
        seed: int,
        device: str,
        world: World = ALONE,
    ) -> None:
        self.name, self.lines, self.config = name, lines, train
        self.seed, self.world = seed, world
        self.units, self.save_minutes = train.batch, train.save_minutes
        settings = asdict(model)
        network = network_of(name, settings, seed=seed)
        start = start_of(settings) if train.start == "package" else None
        self.identity = {"start": start.checksum if start else None}
        self.start = adopt(network, start) if start else None
        self.state: Descent[LineNetwork] = Descent(network, train, device)
        self.losses: list[list[float]] = []  # since the last line of the journal
        self.before: Scores = {}  # of the start
        self.scores: Scores = {}  # of the weights as they are now; none where nobody asked
        self.scans: Sequence[SliceScan] = ()
        self.own_gaps: Collection[int] = ()
        self.validation: dict[int, list[ValidationSlice]] = {}
        self.first = 0
        self._shown_on = ""

    @classmethod
    def tables(cls, name: str) -> dict[str, type]:
        """Returns the tables of settings of a model: "model", "lines" and "train"."""
        model = LatentConfig if name == LATENT else Config
        return {"model": model, "lines": LineConfig, "train": LineTrainingConfig}

    @classmethod
    def build(
        cls, name: str, *, seed: int, device: str, world: World, **tables: Any
    ) -> "LineLearner":
        """Returns the learner at the beginning of a run."""
        return cls(name, seed=seed, device=device, world=world, **tables)

    def steps(self, scans: Cohort) -> int:
        """Returns the steps of the whole run."""
        return self.config.steps

    def tasks(self, scans: Cohort) -> list[Task]:
        """Returns what is to be read of each scan: its slices, in several sizes to learn from."""
        train = [Task(path, kept="slices", scales=self.lines.scales) for path in scans.train]
        return [*train, *(Task(path, kept="slices") for path in scans.val)]

    def prepare(self, scans: Cohort, cache: Cache) -> None:
        """Opens the slices to learn from, and draws those to validate on."""
        self.scans, validation = self._slices(scans, cache)
        self.validation = validation if self.world.main else {}

    def begin(self) -> dict[str, Any] | None:
        """Returns how good the weights are that training starts from."""
        if self.start is None:
            return None
        self.before = scores_of(as_started(self.state.average, self.start), self.validation)
        log.info("the weights of the package: %s", self._in_words(self.before))
        return {"step": 0, "patches": 0, **_validated(self.before)}

    def batch(self, step: int) -> Lines:
        """Returns the crops of a step: those of this process alone."""
        return draw_lines(
            self.scans,
            self.config.batch,
            config=self.lines,
            generator=numpy_stream(self.seed, "lines", step),
            rows=self.world.shard(self.config.batch),
        )

    def step(self, step: int, batch: Any) -> None:
        """Moves the parameters along the gradient of the loss."""
        self.scores = {}  # those of other weights would judge, calibrate and describe these
        self.losses.append(self._descended(batch, learning_rate(self.config, step)))

    def is_reported(self) -> bool:
        """Tells whether about `report` crops have been learnt from since the last line."""
        return self.done % max(1, self.config.report // self.config.batch) == 0

    def report(self, seconds: float) -> dict[str, Any]:
        """Returns losses, and scores on hidden lines of validation scans by size of the gap."""
        relative, density = np.mean(self.losses, axis=0).tolist()
        self.losses.clear()
        self.scores = scores_of(self.state.average, self.validation)
        crops = self.done * self.config.batch
        log.info("after %d crops: %s", crops, self._in_words(self.scores))
        return {
            "step": self.done,
            "patches": crops,
            "loss": relative,
            "nats": density,
            **_validated(self.scores),
            "rate": learning_rate(self.config, self.done - 1),
            "seconds": round(seconds, 3),
            "steps_per_second": round((self.done - self.first) / seconds, 3),
        }

    def model(self) -> dict[str, Tensor]:
        """Returns the better one of start and moving average, and factors of the std."""
        # Between two reports a save has to look: whoever kills the run imputes with this file.
        self.scores = self.scores or scores_of(self.state.average, self.validation)
        return better_weights(
            self.state.average, self.scores, self.start, self.before, self.own_gaps
        )

    def tensors(self) -> dict[str, Tensor]:
        """Returns parameters, their moving average, and the state of the optimiser."""
        return self.state.tensors()

    def numbers(self) -> dict[str, Any]:
        """Returns the position in the run, losses to report, and the scores of the start."""
        return {
            "step": self.done,
            "losses": self.losses,
            "start": self.identity["start"],
            "before": {str(gap): asdict(score) for gap, score in self.before.items()},
        }

    def load(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any], where: Path) -> None:
        """Becomes what `tensors` and `numbers` came from.

        Raises:
            CheckpointError: If they do not fit the network.
            ConfigError: If the run was begun from other weights.
        """
        with understood(where):
            self.done, self.losses = int(numbers["step"]), list(numbers["losses"])
            stored = numbers.get("before", {}).items()
            self.before = {int(gap): parse(GapScore, score) for gap, score in stored}
        if numbers.get("start") != self.identity["start"] and self.done < self.config.steps:
            raise ConfigError(
                f"{where.parent} was begun from other weights of the package",
                hint="choose another folder with -o, or pass --overwrite to begin anew",
            )
        self.state.load(tensors, self.done, where=str(where))
        self.first = self.done

    def gain(self, journal: Sequence[Mapping[str, Any]]) -> Gain | None:
        """Returns the gain over interpolation and over the start, on lines hidden in slices."""
        if not self.scores or not self.world.main:
            return None
        if self.name == LATENT:
            if self.start is None:  # its mean and std have changed as well
                return None
            before, after = (mean_nll(s, self.own_gaps) for s in (self.before, self.scores))
            return _latent_gain(before, after, self._shown_on)
        start_db = gain_db(self.before, self.own_gaps) if self.start else None
        return _gain(start_db, gain_db(self.scores, self.own_gaps), self._shown_on)

    def _slices(
        self, scans: Cohort, cache: Cache
    ) -> tuple[list[SliceScan], dict[int, list[ValidationSlice]]]:
        """Returns the slices to learn from, and those to validate on by size of the gap."""
        stacks = [(path, scan) for path in scans.train if (scan := _stack(path, cache))]
        usable = [(path, scan) for path, scan in stacks if has_room(scan)]
        val = [scan for path in scans.val if (scan := _stack(path, cache))]
        if not usable:
            raise TrainingError(
                "no scan of the cohort is a stack of slices without holes, large enough to hide "
                "lines in, and with gaps between them",
                hint="train another --model, which takes any pattern of missing voxels",
            )
        for path, scan in stacks:
            if not has_room(scan):
                log.warning("%s has no room to hide lines in and is left out", path.name)
        train = [scan for _, scan in usable]
        self.own_gaps = gaps_of(train)  # not of finer copies, whose gaps no scanner chose
        validation, self._shown_on = self._validation(train, val), "validation scans"
        if not any(validation.values()):
            log.warning(
                "no scans to validate on: the std is calibrated on those that were learnt from"
            )
            validation = self._validation(train, train)
            self._shown_on = "the scans that were learnt from"

        scales = self.lines.scales
        pairs = [
            (path, scale) for scale in scales for path, scan in usable if is_shown(scan, scale)
        ]
        resized = [cache.slices(path, scale) for path, scale in pairs]
        return [scan for scan in resized if scan] or train, validation

    def _validation(
        self, train: Sequence[SliceScan], val: Sequence[SliceScan]
    ) -> dict[int, list[ValidationSlice]]:
        """Returns slices of `val` for every gap to know: `val_patches` of them, at most."""
        slices = {}
        for gap in sorted({*self.lines.gaps, *gaps_of(train)}):
            low, high = self.lines.gap_mm
            fitting = [s for s in val if gap in s.gaps or low <= gap * s.voxel_mm <= high]
            if fitting:
                generator = numpy_stream(self.seed, "validation", gap)
                count = self.config.val_patches
                images = whole_slices(fitting, gap, count, generator=generator)
                slices[gap] = validation_slices(images)
        return slices

    def _descended(self, lines: Lines, rate: float) -> list[float]:
        """Takes one step of gradient descent and returns the two terms of the loss."""
        state, config, world = self.state, self.config, self.world
        device = next(state.model.parameters()).device
        fraction, scale = len(lines.context) / config.batch, None
        if world.size > 1:  # as of the whole batch; found on the CPU, nobody has to wait for a GPU
            shown, hidden = (torch.from_numpy(x) for x in (lines.context, lines.target))
            own = interpolation_loss(shown, hidden, config.loss)
            total = world.total(fraction * float(own))
            scale = torch.tensor(total, dtype=own.dtype, device=device)
        context, target = (torch.from_numpy(x).to(device) for x in (lines.context, lines.target))
        conditions = torch.from_numpy(lines.conditions()).to(device)
        mixed = device.type == "cuda" and config.precision == "bfloat16"
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            terms = objective(
                state.model, context, target, conditions, loss=config.loss, scale=scale
            )

        (fraction * terms.total).backward()
        losses = fraction * torch.stack([terms.relative, terms.nll]).detach()
        state.add_up(world, losses)
        values = losses.tolist()
        norm = state.descend(rate)
        if not np.isfinite([*values, norm]).all():
            raise TrainingError(
                f"the loss is {values[0]:g}, {values[1]:g} and its gradient {norm:g} at step "
                f"{state.step}, with slices of {', '.join(sorted(set(lines.names)))}",
                hint="look at these scans; or lower --set train.rate, or train.precision=float32",
            )
        return values

    def _in_words(self, scores: Scores) -> str:
        """Returns scores in words: those of the scans' own gaps first, then the gain of each."""
        each = ", ".join(f"{gap}: {score.gain_db:+.2f}" for gap, score in scores.items())
        gain, loss = gain_db(scores, self.own_gaps), mean_nll(scores, self.own_gaps)
        return (
            f"{gain:+.2f} dB over interpolation, {loss:.3f} nats a pixel "
            f"(dB by gap in voxels: {each})"
        )


def _stack(path: Path, cache: Cache) -> SliceScan | None:
    scan = cache.slices(path)
    if scan is None:
        log.warning("%s is no stack of slices without holes and is left out", path.name)
    return scan


def _validated(scores: Scores) -> dict[str, dict[str, float]]:
    """Returns what the journal says about validation scans, by gap."""
    return {
        "val_gain_db": {str(gap): round(score.gain_db, 4) for gap, score in scores.items()},
        "val_nats": {str(gap): round(score.nats, 4) for gap, score in scores.items()},
    }


def _gain(before: float | None, after: float, where: str) -> Gain:
    """Returns the gain on hidden lines.

    Args:
        before: Of the weights of the package over interpolation, in dB; None from scratch.
        after: Of the trained weights.
        where: What the lines are hidden in.
    """
    words = f"hidden lines of {where}: {after:+.2f} dB over interpolation"
    numbers = {"over_interpolation_db": round(after, 4)}
    if before is None:
        instead = "; no gain: --model pchip is as good"
        return Gain(words + ("" if after > 0 else instead), numbers, is_gain=after > 0)
    more = after - before
    numbers["over_start_db"] = round(more, 4)
    words += f", {more:+.2f} dB over the weights of the package"
    if more >= LEAST_GAIN_DB:
        return Gain(words, numbers, is_gain=True)
    kept = "" if more >= 0 else " (the model file has them; a lower --set train.rate may help)"
    return Gain(f"{words}; no gain: keep the weights of the package{kept}", numbers, is_gain=False)


def _latent_gain(before: float, after: float, where: str) -> Gain:
    """Returns what latent numbers give: without them, pixels are independent given the lines."""
    words = f"nats of each hidden pixel of {where}: {before:.3f} -> at most {after:.3f}"
    is_gain = after < before
    if not is_gain:
        words += "; no gain: it stays without latent numbers; a lower --set train.rate may help"
    return Gain(words, {"before_nats": before, "after_nats": after}, is_gain=is_gain)
