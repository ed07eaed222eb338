"""Imputers by name: methods without weights, and what training wrote."""

from pathlib import Path
from typing import get_args

from mriimpute.errors import ConfigError
from mriimpute.files import sha256, shipped
from mriimpute.interpolation import Kind
from mriimpute.methods.base import Imputer
from mriimpute.methods.interpolation import Interpolation
from mriimpute.methods.ridge.imputer import CrossPlaneRidge

__all__ = ["DEFAULT", "FITTED", "METHODS", "identity", "load_imputer", "model_file"]

FITTED = ("dictionary", "deep-image-prior")
"""Learn from each scan, on a device."""

METHODS = (*get_args(Kind), CrossPlaneRidge.name, *FITTED)
"""Need no weights."""

MODEL = "model.safetensors"
"""What training leaves in a run folder."""

DEFAULT = "cross-plane"
"""Its weights come with the package."""

LINES = (DEFAULT, "cross-plane-latent")
"""Networks that see lines."""


def load_imputer(name: str, *, device: str, adapt: bool = False) -> Imputer:
    """Returns the imputer that `name` stands for.

    Args:
        name: One of `METHODS`, `DEFAULT`, a run folder, or a `model.safetensors` inside one.
        device: Where a neural model, or one of `FITTED`, computes.
        adapt: Let `cross-plane` learn from each scan before imputing it.

    Raises:
        ConfigError: If there is neither a method nor a run of that name, or it cannot adapt.
        CheckpointError: If the run's weights are missing, damaged or of another version.
    """
    if name in METHODS and adapt:
        raise _cannot_adapt(name)
    if name in get_args(Kind):
        kind: Kind = name  # type: ignore[assignment]
        return Interpolation(kind)
    if name == CrossPlaneRidge.name:
        return CrossPlaneRidge()
    if name in FITTED:
        return _fitted(name, device)

    return _trained(model_file(name), device, adapt=adapt)


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


def _fitted(name: str, device: str) -> Imputer:
    # Both load torch.
    if name == "dictionary":
        from mriimpute.methods.dictionary.imputer import DictionaryImputer

        return DictionaryImputer(device=device)

    from mriimpute.methods.deep_image_prior.imputer import DeepImagePrior

    return DeepImagePrior(device=device)


def _trained(path: Path, device: str, *, adapt: bool) -> Imputer:
    from mriimpute.checkpoint import load, understood  # loads torch

    tensors, metadata = load(path)
    with understood(path):
        kind = metadata["name"]
    if adapt and kind != DEFAULT:
        raise _cannot_adapt(kind)

    with understood(path):
        if kind == CrossPlaneRidge.name:
            arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
            return CrossPlaneRidge.from_checkpoint(arrays, metadata)

        if kind in LINES:
            from mriimpute.methods.cross_plane.imputer import CrossPlane

            return CrossPlane.from_checkpoint(tensors, metadata, device=device, adapt=adapt)

        from mriimpute.methods.patches.imputer import PatchImputer

        return PatchImputer.from_checkpoint(tensors, metadata, device=device)


def _cannot_adapt(name: str) -> ConfigError:
    return ConfigError(
        f"{name} cannot adapt to a scan", hint="leave --adapt out, or use --model cross-plane"
    )
