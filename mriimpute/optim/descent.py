"""A network under training: its moving average, its optimiser, and the position in the run."""

import copy
from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from mriimpute.checkpoint import restore
from mriimpute.distributed import World
from mriimpute.optim.config import TrainingConfig

__all__ = ["Descent", "follow"]

M = TypeVar("M", bound=nn.Module)

PARTS = ("model", "average", "optimiser")


class Descent(Generic[M]):
    """Everything that the next step depends on.

    Args:
        model: With initial parameters.
        config: How fast it learns.
        device: "cpu" or "cuda:N".
        fused: Update all parameters in one kernel: faster for networks whose convolutions or
            products cost little, with other last bits.
    """

    def __init__(
        self, model: M, config: TrainingConfig, device: str, *, fused: bool = False
    ) -> None:
        self.config = config
        self.model = model.to(device)
        self.average = copy.deepcopy(self.model).eval().requires_grad_(requires_grad=False)
        self.optimiser = _optimiser(self.model, config, fused=fused)
        self.step = 0

    def add_up(self, world: World, *losses: Tensor) -> None:
        """Replaces gradients, and losses, by their sums over the processes that share the batch.

        Args:
            world: These processes.
            losses: Plain numbers, in single precision; they go along for free.
        """
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        world.all_reduce([*losses, *gradients])

    def descend(self, rate: float) -> Tensor:
        """Moves the parameters along their gradients, and the average after them.

        Args:
            rate: Learning rate.

        Returns:
            The norm of the gradient. Where it is not finite, nothing was moved.
        """
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        if norm.isfinite():
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            self.optimiser.step()
            self.step += 1
            # Young averages forget faster, or they would remember the initial parameters.
            follow(
                self.average, self.model, min(self.config.average, self.step / (self.step + 10))
            )
        self.optimiser.zero_grad(set_to_none=True)
        return norm

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


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Moves a moving average of the parameters, and of buffers, towards those of a model.

    Args:
        average: Of the same kind as the model.
        model: To follow.
        decay: Fraction of the average that stays.
    """
    now = model.state_dict()
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            value.lerp_(now[name], 1 - decay)
        else:
            value.copy_(now[name])


def _optimiser(model: M, config: TrainingConfig, *, fused: bool) -> AdamW:
    kernels = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": kernels, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    filled = [group for group in groups if group["params"]]
    return AdamW(filled, lr=config.rate, betas=(0.9, 0.99), fused=fused)


def _part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
