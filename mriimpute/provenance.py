"""What made a result: the content of the JSON beside it.

Names of folders are left out everywhere: on a hospital's disks they carry names of patients.
"""

import platform
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mriimpute.files import sha256

__all__ = ["FOLDER", "LIBRARIES", "provenance", "version_of", "versions"]

FOLDER = "DIR"
"""Stands for a folder in a command line: exports of a scanner are often named like the patient."""

LIBRARIES = ("torch", "numpy", "scipy", "nibabel", "SimpleITK")
"""What computes."""


def provenance(
    *,
    command: Sequence[str],
    seed: int,
    device: str,
    seconds: float,
    inputs: Sequence[Path] = (),
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the record of one run, made of plain values.

    Args:
        command: The words of the command line. Of a path only the name of the file is recorded.
        seed: Names all random streams; from 0.
        device: Where it was computed.
        seconds: How long it took.
        inputs: Files, recorded by name and checksum.
        settings: Whatever else decided the result.
    """
    return {
        "GeneratedBy": [{"Name": "mriimpute", "Version": versions()["mriimpute"]}],
        "command": shlex.join([*command[:1], *map(_without_folders, command[1:])]),
        "seed": seed,
        "device": device,
        "seconds": round(seconds, 3),
        "inputs": [{"name": path.name, "sha256": sha256(path)} for path in inputs],
        "settings": _plain(settings or {}),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Returns the versions of this package, of Python and of what computes, importing nothing."""
    found = {"mriimpute": version_of("mriimpute"), "python": platform.python_version()}
    return found | {name: version_of(name) for name in LIBRARIES}


@cache  # each answer parses a file
def version_of(name: str) -> str:
    """Returns the version of an installed package, or "absent"."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _without_folders(word: str) -> str:
    option, equals, value = word.partition("=")
    if equals and option.startswith("-"):
        return f"{option}={_without_folders(value)}"
    name = Path(word).name
    return FOLDER if name and Path(word).is_dir() else name or word


def _plain(value: Any) -> Any:
    match value:
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case Path():
            return value.name
        case _:
            return value
