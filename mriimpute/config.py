"""Settings: TOML <-> frozen dataclasses, where an unknown key is an error.

A run is one TOML document: a preset of the package, overlaid by a file, overlaid by single keys.
"""

import dataclasses
import difflib
import math
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import tomli_w

from mriimpute.errors import ConfigError, listed

__all__ = ["assign", "dump", "merge", "parse", "read_toml"]

T = TypeVar("T")


def read_toml(path: Path) -> dict[str, Any]:
    """Returns the content of a TOML file.

    Raises:
        ConfigError: If it cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, RecursionError, ValueError) as error:  # such as a number of 5000 digits
        raise ConfigError(f"{path}: {error}", hint="pass a readable TOML file") from error


def parse(kind: type[T], settings: Mapping[str, Any], *, where: str = "") -> T:
    """Returns an instance of the dataclass `kind` made of plain `settings`.

    Args:
        kind: A dataclass whose fields are numbers, strings, booleans, literals, tuples of these
            or dataclasses.
        settings: As read from TOML or JSON. A missing key keeps its default.
        where: Dotted path of `settings`, for messages.

    Raises:
        ConfigError: If a key is unknown or a value has the wrong type.
    """
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    values = {}
    for key, value in settings.items():
        path = f"{where}.{key}" if where else key
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.0)
            raise ConfigError(
                f"no setting is called {path!r}",
                hint=f"did you mean {near[0]!r}? known: {listed(names)}",
            )
        values[key] = _convert(hints[key], value, path)
    try:
        return kind(**values)
    except ValueError as error:
        raise ConfigError(f"{where or 'settings'}: {error}", hint="change the value") from error


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `base` with the values of `overlay` in place of its own, table by table.

    Example:
        >>> merge({"train": {"steps": 1, "batch": 2}}, {"train": {"steps": 5}})
        {'train': {'steps': 5, 'batch': 2}}
    """
    merged = dict(base)
    for key, value in overlay.items():
        both_tables = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both_tables else value
    return merged


def assign(settings: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Returns `settings` with `assignments` such as "train.steps=200" made.

    Example:
        >>> assign({"train": {"steps": 1}}, ["train.steps=200", "model.kind=deep"])
        {'train': {'steps': 200}, 'model': {'kind': 'deep'}}
    """
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        keys = [key.strip() for key in path.split(".")]
        if not equals or not all(keys):
            raise ConfigError(f"{assignment!r} is not key=value", hint="write train.steps=200")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (RecursionError, ValueError):
            value = text.strip()  # a bare word is a string: quotes would need quoting in a shell
        for key in reversed(keys):
            value = {key: value}
        settings = merge(settings, value)
    return dict(settings)


def dump(settings: Mapping[str, Any]) -> str:
    """Returns `settings` as TOML.

    A value of None is left out: TOML has none, and a missing key keeps its default.

    Raises:
        TypeError: If a value is none that TOML can hold.

    Example:
        >>> print(dump({"seed": 1, "train": {"steps": 5, "name": "a"}}))
        seed = 1
        <BLANKLINE>
        [train]
        steps = 5
        name = "a"
        <BLANKLINE>
    """
    return tomli_w.dumps(_without_none(settings))


def _without_none(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in settings.items()
        if value is not None
    }


def _convert(kind: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type) and isinstance(value, Mapping):
        return parse(kind, value, where=path)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list | tuple):
        if arguments[-1] is Ellipsis:
            return tuple(_convert(arguments[0], item, path) for item in value)
        if len(arguments) == len(value):
            pairs = zip(arguments, value, strict=True)
            return tuple(_convert(inner, item, path) for inner, item in pairs)
    if origin in (typing.Union, types.UnionType):
        for inner in arguments:
            with suppress(ConfigError):
                return _convert(inner, value, path)
    if kind is type(None) and value is None:
        return None
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ConfigError(f"{path} must be finite, got {value!r}", hint="change the value")
        return float(value)
    if isinstance(kind, type) and type(value) is kind:
        return value
    wanted = getattr(kind, "__name__", str(kind)) if origin is None else str(kind)
    raise ConfigError(f"{path} must be {wanted}, got {value!r}", hint="change the value")
