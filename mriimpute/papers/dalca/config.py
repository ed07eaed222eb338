"""The methods of figures 5, 7 and 8 of Dalca et al.: names, sizes, training."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from mriimpute.methods.dictionary.learning import DictionaryConfig
from mriimpute.methods.patches.config import PatchTrainingConfig
from mriimpute.methods.patches.hidden import HiddenConfig

__all__ = [
    "BASELINES",
    "LABELS",
    "METHODS",
    "NETWORKS",
    "Method",
    "MethodConfig",
    "network_schedule",
    "settings_of",
    "subspace_schedule",
]

Baseline = Literal["interpolation", "subspace-sgd", "subspace-em", "dictionary"]
Network = Literal[
    "conv-zero", "conv-mean", "conv-interp", "conv-interp-wmask", "conv-sparse", "conv-fc-sparse"
]
Method = Literal[Baseline, Network]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
NETWORKS: tuple[Network, ...] = get_args(Network)
METHODS: tuple[Method, ...] = get_args(Method)
LABELS: dict[Method, str] = {
    "interpolation": "linear interp.",
    "subspace-sgd": "subspace (SGD)",
    "subspace-em": "subspace (EM)",
    "dictionary": "L0 dictionary",
    **{name: name for name in NETWORKS},
}

VOXELS = HiddenConfig(lines=0.0, voxels=1.0, slices=0.0, shown=(0.5, 1.0))
"""Encoders do not see up to half of the pixels that were observed, while the bound scores them."""


def network_schedule(images: int, batch: int, rate: float, average: float) -> PatchTrainingConfig:
    """Returns the training of a network, whose noise level is fixed, as in the paper.

    The weight of the prior rises over the first third: at once, with weights that know nothing
    yet, posteriors would collapse to it.

    Args:
        images: Seen over all epochs.
        batch: Images per step.
        rate: Learning rate after its warm-up.
        average: Decay per step of the moving average of the weights.
    """
    return PatchTrainingConfig(
        patches=images,
        batch=batch,
        rate=rate,
        average=average,
        noise="given",
        warm_up_end=0.3,
        report=max(batch, images // 4),
        val_patches=4 * batch,
    )


def subspace_schedule(images: int, batch: int) -> PatchTrainingConfig:
    """Returns the training of a linear subspace, by descent on its exact evidence."""
    return PatchTrainingConfig(
        objective="evidence",
        noise="learnt",
        patches=images,
        batch=batch,
        rate=1e-2,
        average=0.98,
        report=images,
    )


def _learnt() -> PatchTrainingConfig:
    return PatchTrainingConfig(noise="learnt")


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodConfig:
    """How large the models of all methods are, and how they are trained.

    Attributes:
        encoding: Latent dimensions of conv-fc-sparse.
        local: Latent dimensions per voxel of the coarsest grid, of the other networks.
        levels: Residual blocks, each with a pooling or an upsampling by two.
        channels: Features of the first level; each further level has twice as many.
        widest: Where this doubling ends.
        sigma: Noise level of the networks.
        hidden: What their encoders do not see of what was observed.
        network: Their training; "patches" are images.
        linear: Latent dimensions of the linear subspace.
        subspace: Training of the linear subspace by descent.
        em_iterations: Iterations of EM for the linear subspace.
        kappa: Ridge of EM on the rows of [W, mu].
        dictionary: Settings of the L0 dictionary.
        draws: Draws per conditional mean of the networks (K of Eq. 8).
    """

    encoding: int = 10
    local: int = 10
    levels: int = 5
    channels: int = 16
    widest: int = 256
    sigma: float = 0.1
    hidden: HiddenConfig = VOXELS
    network: PatchTrainingConfig = field(default_factory=_learnt)
    linear: int = 10
    subspace: PatchTrainingConfig = field(default_factory=_learnt)
    em_iterations: int = 20
    kappa: float = 1.0
    dictionary: DictionaryConfig = field(default_factory=DictionaryConfig)
    draws: int = 20


def settings_of(method: Method, config: MethodConfig) -> dict[str, Any]:
    """Returns all that decides what a method learns, and nothing else, as plain values."""
    match method:
        case "interpolation":
            return {}
        case "subspace-sgd":
            return {"model": {"latents": config.linear}, "train": asdict(config.subspace)}
        case "subspace-em":
            return {
                "model": {"latents": config.linear},
                "iterations": config.em_iterations,
                "kappa": config.kappa,
            }
        case "dictionary":
            return asdict(config.dictionary)
    model = {
        "levels": config.levels,
        "channels": config.channels,
        "widest": config.widest,
        "latents": config.encoding if method == "conv-fc-sparse" else config.local,
        "sigma": config.sigma,
    }
    return {
        "model": model,
        "hidden": asdict(config.hidden),
        "train": asdict(config.network),
        "draws": config.draws,
    }
