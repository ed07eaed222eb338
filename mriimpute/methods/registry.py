"""Methods by name: those that need no weights, what training wrote, and what can be trained.

Whoever adds a method adds its name here, and nothing else anywhere: see `METHODS`, `LEARNERS` and
`IMPUTERS`. A model of patches is found by its file.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from mriimpute.errors import ConfigError
from mriimpute.files import sha256, shipped
from mriimpute.interpolation import Kind
from mriimpute.methods import cross_plane, ridge
from mriimpute.methods.base import Imputer

if TYPE_CHECKING:
    from mriimpute.methods.base import Learner

__all__ = [
    "DEFAULT",
    "FITTED",
    "METHODS",
    "identity",
    "learner_class",
    "load_imputer",
    "model_file",
    "trainable",
    "uses_device",
]

ROOT = "mriimpute.methods"

METHODS = {
    **dict.fromkeys(get_args(Kind), "interpolation:Interpolation"),
    ridge.NAME: "ridge.imputer:CrossPlaneRidge",
    "dictionary": "dictionary.imputer:DictionaryImputer",
    "deep-image-prior": "deep_image_prior.imputer:DeepImagePrior",
}
"""Need no weights; the class of each has a class method `without_weights(name, device)`."""

LEARNERS = {
    cross_plane.NAME: "cross_plane.learner:LineLearner",
    cross_plane.LATENT: "cross_plane.learner:LineLearner",
    ridge.NAME: "ridge.learner:RidgeLearner",
    "mixture-ppca": "patches.em_learner:EmLearner",
    "ppca-em": "patches.em_learner:EmLearner",
}
"""How a model is trained; every other one is a model of patches that learns by gradients."""

FITTED = ("dictionary", "deep-image-prior")
"""Of `METHODS`, those that learn from each scan, on a device."""

IMPUTERS = {
    cross_plane.NAME: "cross_plane.imputer:CrossPlane",
    cross_plane.LATENT: "cross_plane.imputer:CrossPlane",
    ridge.NAME: "ridge.imputer:CrossPlaneRidge",
}
"""What imputes with a trained model; `from_checkpoint` makes it. Every other one is a model of
patches."""

PATCHES = "patches.learner:PatchLearner", "patches.imputer:PatchImputer"

MODEL = "model.safetensors"
"""What training leaves in a run folder."""

DEFAULT = cross_plane.NAME
"""Its weights come with the package."""


def trainable() -> list[str]:
    """Returns the names of all models that can be trained."""
    from mriimpute.methods.patches import models  # loads torch

    return sorted({*LEARNERS, *models.available()})


def learner_class(name: str) -> "type[Learner]":
    """Returns the learner of a model that can be trained."""
    kind: type[Learner] = _loaded(LEARNERS.get(name, PATCHES[0]))
    return kind


def load_imputer(name: str, *, device: str, adapt: bool = False) -> Imputer:
    """Returns the imputer that `name` stands for.

    Args:
        name: One of `METHODS`, `DEFAULT`, a run folder, or a `model.safetensors` inside one.
        device: Where a method that uses one computes, "cpu" or "cuda:N".
        adapt: Let `cross-plane` learn from each scan before imputing it.

    Raises:
        ConfigError: If there is neither a method nor a run of that name, or it cannot adapt.
        CheckpointError: If the run's weights are missing, damaged or of another version.
    """
    if name not in METHODS:
        return _trained(model_file(name), device, adapt=adapt)
    if adapt:
        raise _cannot_adapt(name)
    imputer: Imputer = _loaded(METHODS[name]).without_weights(name, device)
    return imputer


def uses_device(name: str) -> bool:
    """Tells whether a method computes on a device; to ask for one loads torch."""
    return name not in METHODS or name in FITTED


def identity(name: str) -> str:
    """Returns what tells one imputer from another: a method's name or a model file's SHA-256.

    Raises:
        ConfigError: If there is neither a method nor a run of that name.
    """
    return name if name in METHODS else f"sha256:{sha256(model_file(name))}"


def model_file(name: str | Path) -> Path:
    """Returns the model file that a run folder, the file itself, or `DEFAULT` stands for.

    Raises:
        ConfigError: If there is neither.
    """
    path = shipped(DEFAULT) if str(name) == DEFAULT else Path(name)
    if not path.exists():
        known = [DEFAULT, *METHODS]
        raise ConfigError(
            f"no model is called {str(name)!r}", hint=f"use a run folder or one of {known}"
        )
    if not path.is_dir():
        return path
    if not (path / MODEL).is_file():
        raise ConfigError(
            f"{path} holds no {MODEL}", hint="pass a run folder that `mriimpute train` has filled"
        )
    return path / MODEL


def _trained(path: Path, device: str, *, adapt: bool) -> Imputer:
    from mriimpute.checkpoint import load, understood  # loads torch

    tensors, metadata = load(path)
    with understood(path):
        name = metadata["name"]
    if adapt and name != DEFAULT:
        raise _cannot_adapt(name)

    options = {"adapt": True} if adapt else {}
    with understood(path):
        kind = _loaded(IMPUTERS.get(name, PATCHES[1]))
        imputer: Imputer = kind.from_checkpoint(tensors, metadata, device=device, **options)
        return imputer


def _loaded(place: str) -> Any:
    """Returns a class, which may load torch, by its module and name."""
    module, _, name = place.partition(":")
    return getattr(import_module(f"{ROOT}.{module}"), name)


def _cannot_adapt(name: str) -> ConfigError:
    return ConfigError(
        f"{name} cannot adapt to a scan", hint="leave --adapt out, or use --model cross-plane"
    )
