"""What made a result: the content of the JSON beside it.

Names of folders are left out everywhere: on a hospital's disks they carry names of patients.
"""

import platform
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mriimpute.files import sha256

__all__ = ["provenance", "versions"]

LIBRARIES = ("torch", "numpy", "scipy", "nibabel", "SimpleITK")


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
        command: The words of the command line. Of a path only the last part is recorded.
        seed: Of the run.
        device: Where it was computed.
        seconds: How long it took.
        inputs: Files, recorded by name and checksum.
        settings: Whatever else decided the result.
    """
    return {
        "GeneratedBy": [{"Name": "mriimpute", "Version": versions()["mriimpute"]}],
        "command": shlex.join(_without_folders(word) for word in command),
        "seed": seed,
        "device": device,
        "seconds": round(seconds, 3),
        "inputs": [{"name": path.name, "sha256": sha256(path)} for path in inputs],
        "settings": _plain(settings or {}),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Returns the versions of this package, of Python and of what computes, importing nothing."""
    found = {"mriimpute": _version("mriimpute"), "python": platform.python_version()}
    return found | {name: _version(name) for name in LIBRARIES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _without_folders(word: str) -> str:
    option, equals, value = word.partition("=")
    if equals and option.startswith("-"):
        return f"{option}={Path(value).name or value}"
    return Path(word).name or word


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
