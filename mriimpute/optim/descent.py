"""A network under training: its moving average, its optimiser, and the position in the run."""

import copy
import math
from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from mriimpute.checkpoint import restore
from mriimpute.distributed import World
from mriimpute.optim.config import TrainingConfig

__all__ = ["Descent", "MovingAverage"]

M = TypeVar("M", bound=nn.Module)

PARTS = ("model", "average", "optimiser")


class MovingAverage(Generic[M]):
    """A network whose parameters, and buffers, are moving averages of those of another.

    Args:
        model: To follow. Its tensors may change, but not be replaced by others.
    """

    def __init__(self, model: M) -> None:
        self.model: M = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
        # Listed once: a step of a small network takes about as long as its `state_dict`.
        tensors = (part.state_dict().values() for part in (self.model, model))
        pairs = list(zip(*tensors, strict=True))
        self._real = [pair for pair in pairs if pair[0].is_floating_point()]
        self._whole = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Moves towards the model.

        Args:
            decay: Fraction of the average that stays.
        """
        mine, now = zip(*self._real, strict=True)
        torch._foreach_lerp_(mine, now, 1 - decay)
        for count, latest in self._whole:
            count.copy_(latest)


class Descent(Generic[M]):
    """Everything that the next step depends on.

    Args:
        model: With initial parameters.
        config: How fast it learns.
        device: "cpu" or "cuda:N".
    """

    def __init__(self, model: M, config: TrainingConfig, device: str) -> None:
        self.config = config
        self.model = model.to(device)
        self.parameters = list(self.model.parameters())
        self.moving = MovingAverage(self.model)
        self.optimiser = _optimiser(self.parameters, config)
        self.step = 0

    @property
    def average(self) -> M:
        """The moving average, in evaluation mode: what is kept."""
        return self.moving.model

    def add_up(self, world: World, *losses: Tensor) -> None:
        """Replaces gradients, and losses, by their sums over the processes that share the batch.

        Args:
            world: These processes.
            losses: Plain numbers, in single precision; they go along for free.
        """
        if world.size > 1:
            world.all_reduce([*losses, *self._gradients()])

    def descend(self, rate: float) -> float:
        """Moves the parameters along their gradients, and the average after them.

        Args:
            rate: Learning rate.

        Returns:
            The norm of the gradient. Where it is not finite, nothing was moved.
        """
        norm = nn.utils.get_total_norm(self._gradients())
        size = norm.item()
        if math.isfinite(size):
            # Clips: the update divides by it. Passes over memory are what a step is made of.
            scale = (norm + 1e-6) / self.config.clip if size > self.config.clip else None
            self.optimiser.grad_scale = scale  # type: ignore[attr-defined]
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            self.optimiser.step()
            self.step += 1
            # Young averages forget faster, or they would remember the initial parameters.
            self.moving.follow(min(self.config.average, self.step / (self.step + 10)))
        for parameter in self.parameters:
            parameter.grad = None
        return size

    def tensors(self) -> dict[str, Tensor]:
        """Returns all tensors by name, to be stored."""
        named = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        named |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, entries in self.optimiser.state_dict()["state"].items():
            named |= {f"optimiser.{index}.{key}": value for key, value in entries.items()}
        return named

    def load(self, tensors: Mapping[str, Tensor], step: int, where: str) -> None:
        """Becomes the state that `tensors` came from.

        Raises:
            CheckpointError: If they do not fit the model.
        """
        model, average, optimiser = (_part(tensors, name) for name in PARTS)
        restore(self.model, model, where=where)
        restore(self.average, average, where=where)
        entries: dict[int, dict[str, Tensor]] = {}
        for name, tensor in optimiser.items():
            index, _, key = name.partition(".")
            entries.setdefault(int(index), {})[key] = tensor
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": entries, "param_groups": groups})
        self.step = step

    def _gradients(self) -> list[Tensor]:
        return [p.grad for p in self.parameters if p.grad is not None]


def _optimiser(parameters: list[nn.Parameter], config: TrainingConfig) -> AdamW:
    kernels = [p for p in parameters if p.ndim >= 2]
    others = [p for p in parameters if p.ndim < 2]
    groups = [
        {"params": kernels, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    filled = [group for group in groups if group["params"]]
    # One kernel for all: tensor by tensor, the update takes longer than many a backward pass.
    return AdamW(filled, lr=config.rate, betas=(0.9, 0.99), fused=True)


def _part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
