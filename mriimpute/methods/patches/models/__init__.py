"""Models of patches, one per file; the file name, dashes for underscores, is the model's name."""

import pkgutil
from importlib import import_module

from mriimpute.config import parse
from mriimpute.errors import ConfigError, suggestion
from mriimpute.methods.patches.model import Likelihood, Model, ModelConfig, Moments, Recovery
from mriimpute.seeds import fixed

__all__ = [
    "Likelihood",
    "Model",
    "ModelConfig",
    "Moments",
    "Recovery",
    "available",
    "build",
    "config_of",
]


def available() -> list[str]:
    """Returns the names of all models."""
    files = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name.replace("_", "-") for name in files if not name.startswith("_"))


def config_of(name: str) -> type:
    """Returns the settings of a model, a frozen dataclass.

    Raises:
        ConfigError: If there is no such model.
    """
    if name not in available():
        raise ConfigError(f"no model is called {name!r}", hint=suggestion(name, available()))
    kind: type = import_module(f"{__name__}.{name.replace('-', '_')}").Config
    return kind


def build(name: str, settings: dict[str, object], *, seed: int) -> Model:
    """Returns the model `name` with freshly drawn parameters.

    Raises:
        ConfigError: If there is no such model, or a setting is unknown or ill-typed.
    """
    config: ModelConfig = parse(config_of(name), settings, where="model")
    with fixed(seed, "parameters"):
        return config.build()
