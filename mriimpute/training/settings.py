"""The settings of a run: a preset, overlaid by what the user says, completed by defaults."""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from mriimpute import config
from mriimpute.errors import ConfigError, suggestion
from mriimpute.methods.registry import learner_class, trainable

__all__ = ["Settings", "preset", "read", "resolve"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything that decides what a model learns, next to the cohort.

    Attributes:
        name: Of the model, as `--model` takes it.
        seed: Names all random streams.
        tables: Settings by the name of their table, such as "model" and "train", each a dataclass
            of the method that reads it, complete.
    """

    name: str
    seed: int
    tables: Mapping[str, Any]


def preset(name: str, *, from_scratch: bool = False) -> dict[str, Any]:
    """Returns the settings that the package brings for a model.

    Args:
        name: Of the model, as `--model` takes it.
        from_scratch: Learn without the weights of the package, where a preset starts from them.

    Raises:
        ConfigError: If there is no such model.
    """
    _require_known(name)
    chosen = {"name": name, **_toml(name)}
    return config.merge(chosen, _toml(f"{name}-scratch")) if from_scratch else chosen


def resolve(settings: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
    """Returns `settings` with every default written out, as TOML would give them back.

    Raises:
        ConfigError: If the model or a setting is unknown, or a value has the wrong type.
    """
    chosen = read(settings, seed=seed)
    tables = {name: dataclasses.asdict(table) for name, table in chosen.tables.items()}
    return tomllib.loads(config.dump({"name": chosen.name, "seed": chosen.seed, **tables}))


def read(settings: Mapping[str, Any], *, seed: int) -> Settings:
    """Returns `settings` parsed and complete.

    Raises:
        ConfigError: If the model or a setting is unknown, or a value has the wrong type.
    """
    name = _require_known(settings.get("name"))
    kinds = learner_class(name).tables(name)
    known = ["name", "seed", *kinds]
    for key in settings:
        if key not in known:
            raise ConfigError(f"{name} has no setting {key!r}", hint=suggestion(key, known))
    if settings.get("seed", seed) != seed:
        raise ConfigError(
            f"the settings say seed {settings['seed']}, the command {seed}",
            hint=f"pass --seed {settings['seed']}",
        )
    tables: dict[str, Any] = {
        key: config.parse(kind, _table(settings, key), where=key) for key, kind in kinds.items()
    }
    return Settings(name=name, seed=seed, tables=tables)


def _require_known(name: Any) -> str:
    if name not in trainable():
        raise ConfigError(f"no model is called {name!r}", hint=suggestion(str(name), trainable()))
    return str(name)


def _toml(name: str) -> dict[str, Any]:
    """Returns a file of the presets; nothing where there is none."""
    file = files("mriimpute").joinpath("presets", f"{name}.toml")
    return tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _table(settings: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    table = settings.get(key, {})
    if not isinstance(table, Mapping):
        raise ConfigError(f"{key} must be a table, got {table!r}", hint=f"write {key}.<name>=...")
    return table
