"""What training minimises, chosen by name."""

from typing import Any, assert_never

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mriimpute.errors import ConfigError
from mriimpute.methods.patches.config import PatchTrainingConfig
from mriimpute.methods.patches.model import Model
from mriimpute.methods.patches.models.mixture_ppca import MixturePpca
from mriimpute.methods.patches.models.ppca import Ppca
from mriimpute.methods.patches.models.tae import Tae
from mriimpute.methods.patches.objectives.elbo import negative_elbo
from mriimpute.methods.patches.objectives.evidence import negative_log_evidence
from mriimpute.methods.patches.objectives.importance import negative_importance_bound
from mriimpute.methods.patches.objectives.tomographic import negative_tomographic

__all__ = ["objective", "require_objective"]


def objective(
    model: Model,
    y: Float[Tensor, "b 1 *grid"],
    observed: Bool[Tensor, "b 1 *grid"],
    config: PatchTrainingConfig,
    *,
    weight: float,
    generator: torch.Generator,
    shown: Bool[Tensor, "b 1 *grid"] | None = None,
) -> Float[Tensor, " b"]:
    """Returns the loss of each patch, in nats.

    Args:
        model: Under training.
        y: Unobserved voxels may be NaN.
        observed: Which voxels count.
        config: Names the objective.
        weight: Of the prior; see `mriimpute.methods.patches.config.prior_weight`.
        generator: Gives the draws, on the device of the model.
        shown: What encoders see of what is observed; None: all. An exact posterior hides nothing.

    Raises:
        ConfigError: If the model has no such objective.
    """
    given: dict[str, Any] = {"draws": config.draws, "generator": generator, "shown": shown}
    match config.objective:
        case "elbo":
            return negative_elbo(model, y, observed, beta=weight, **given)
        case "importance":
            return negative_importance_bound(model, y, observed, **given)
        case "evidence":
            if isinstance(model, Ppca | MixturePpca):
                return negative_log_evidence(model, y, observed)
        case "tomographic":
            if isinstance(model, Tae):
                return negative_tomographic(model, y, observed, weight=weight, **given)
        case _ as unknown:
            assert_never(unknown)
    raise _no_objective(model, config)


def require_objective(model: Model, config: PatchTrainingConfig) -> None:
    """Finds out before a scan is read whether a model has an objective.

    Raises:
        ConfigError: If it has not.
    """
    owners: dict[str, tuple[type[Model], ...]] = {
        "evidence": (Ppca, MixturePpca),
        "tomographic": (Tae,),
    }
    if config.objective in owners and not isinstance(model, owners[config.objective]):
        raise _no_objective(model, config)


def _no_objective(model: Model, config: PatchTrainingConfig) -> ConfigError:
    return ConfigError(
        f"{type(model).__name__} has no objective {config.objective!r}",
        hint="use --set train.objective=elbo",
    )
