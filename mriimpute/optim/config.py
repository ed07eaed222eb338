"""How long and how fast a network learns, whatever it minimises."""

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["TrainingConfig", "learning_rate"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """How long and how fast a network learns.

    Attributes:
        patches: Patches to learn from, over the whole run.
        batch: Patches per step; at least 2.
        rate: Learning rate after its warm-up.
        final_rate: Learning rate at the end, as a fraction of `rate`; in between it is a cosine.
        rate_warm_up: Fraction of the run over which the learning rate rises.
        weight_decay: Of weight matrices and kernels; biases and scalars are left alone.
        clip: Largest norm of the gradient of the loss.
        average: Decay per step of the moving average of the parameters, which is what is kept.
        precision: Of matrix products on CUDA; the CPU always uses float32.
        report: Patches from one line of the journal to the next.
        val_patches: Patches of the validation loss; for `cross-plane`, slices per gap.
        save_minutes: Time from one checkpoint to the next. It changes no result.
    """

    patches: int = 20_000
    batch: int = 16
    rate: float = 1e-3
    final_rate: float = 0.01
    rate_warm_up: float = 0.02
    weight_decay: float = 1e-4
    clip: float = 1.0
    average: float = 0.995
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    report: int = 1000
    val_patches: int = 64
    save_minutes: float = 2.0

    def __post_init__(self) -> None:
        if self.batch < 2:
            # At batch 1 torch takes a convolution on the CPU that is ten times slower.
            raise ValueError(f"batch must be at least 2, got {self.batch}")
        for name in ("patches", "report", "val_patches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("rate", "clip", "save_minutes"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay must be at least 0, got {self.weight_decay}")
        for name in ("final_rate", "rate_warm_up", "average"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0 to 1, got {getattr(self, name)}")

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return -(-self.patches // self.batch)


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Returns the learning rate of a step: a linear rise, then a cosine.

    Nothing here knows when a run was stopped, so a resumed run takes the same steps.

    Example:
        >>> config = TrainingConfig(patches=1000, batch=10, rate=1.0, rate_warm_up=0.1)
        >>> [round(learning_rate(config, step), 3) for step in (4, 9, 99)]
        [0.5, 1.0, 0.01]
    """
    rise = max(1, round(config.rate_warm_up * config.steps))
    if step < rise:
        return config.rate * (step + 1) / rise
    way = (step + 1 - rise) / max(1, config.steps - rise)
    fraction = config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * way))
    return config.rate * fraction
