"""How models of patches learn: by gradients, or by expectation maximisation."""

from dataclasses import dataclass
from typing import Literal

from mriimpute.optim.config import TrainingConfig

__all__ = ["EmConfig", "PatchTrainingConfig", "prior_weight"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchTrainingConfig(TrainingConfig):
    """How a patch model learns. The gradient of its loss is per observed voxel.

    Attributes:
        objective: "elbo" (variational bound), "evidence" (for models with an exact posterior),
            "importance" (importance weighted bound, `miwae`) or "tomographic" (`tae`).
        draws: Latent draws per patch; of an importance weighted bound, its weights.
        noise: The noise level of y given z, "measured" on the scans (see
            `mriimpute.cohort.noise_level`), "given" by the model's settings, or "learnt" from
            there. One that is learnt lets a bound trade all detail for a cheap code.
        warm_up_start: Fraction of the run after which the weight of the prior begins to rise.
        warm_up_end: Fraction of the run after which it is 1.
        patience: Lines of the journal without more gain on hidden lines of validation scans after
            which a run ends early, once the prior has its whole weight; 0: it never does.
    """

    objective: Literal["elbo", "evidence", "importance", "tomographic"] = "elbo"
    draws: int = 1
    noise: Literal["measured", "given", "learnt"] = "measured"
    warm_up_start: float = 0.0
    warm_up_end: float = 0.15
    patience: int = 8

    def __post_init__(self) -> None:
        TrainingConfig.__post_init__(self)  # super() fails in a class with slots
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1, got {self.draws}")
        if self.patience < 0:
            raise ValueError(f"patience must be at least 0, got {self.patience}")
        for name in ("warm_up_start", "warm_up_end"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0 to 1, got {getattr(self, name)}")
        if self.warm_up_start > self.warm_up_end:
            raise ValueError(
                f"warm_up_start must be at most warm_up_end, got {self.warm_up_start} and "
                f"{self.warm_up_end}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class EmConfig:
    """How a Gaussian subspace, or a mixture of some, is fitted by expectation maximisation.

    Attributes:
        patches: Patches to learn from; all of them are kept in memory and read in each iteration.
        batch: Patches worked on at once. It bounds memory.
        iterations: How many.
        kappa: Ridge on what each voxel of a patch is explained by, 1e-2 to 1; 0 for none.
        val_patches: Patches of the validation loss.
    """

    patches: int = 40_000
    batch: int = 512
    iterations: int = 20
    kappa: float = 0.1
    val_patches: int = 2048

    def __post_init__(self) -> None:
        for name in ("patches", "batch", "iterations", "val_patches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.kappa < 0:
            raise ValueError(f"kappa must be at least 0, got {self.kappa}")


def prior_weight(config: PatchTrainingConfig, step: int) -> float:
    """Returns the weight of the prior at a step: 0, then a linear rise to 1.

    It multiplies the KL term of a variational bound; a tomographic objective makes its gamma of
    it.

    Example:
        >>> config = PatchTrainingConfig(patches=200, batch=2, warm_up_start=0.1, warm_up_end=0.3)
        >>> [prior_weight(config, step) for step in (5, 10, 20, 50)]
        [0.0, 0.0, 0.5, 1.0]
    """
    start = round(config.warm_up_start * config.steps)
    end = round(config.warm_up_end * config.steps)
    if step >= end:
        return 1.0
    return 0.0 if step <= start else (step - start) / (end - start)  # they may be the same step
