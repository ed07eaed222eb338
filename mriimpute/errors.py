"""Errors a user can act on; anything else that escapes is a bug."""

import difflib
from collections.abc import Sequence
from typing import Any

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DeviceError",
    "ExternalError",
    "GeometryError",
    "MethodError",
    "MriImputeError",
    "OutputError",
    "PeerError",
    "ResourceError",
    "TrainingError",
    "VolumeError",
    "listed",
    "suggestion",
]


def listed(names: Sequence[object]) -> str:
    """Returns names to read.

    Example:
        >>> listed(["a", "b", 3])
        'a, b, 3'
    """
    return ", ".join(map(str, names))


def suggestion(name: str, known: Sequence[str]) -> str:
    """Returns what to do about a name that is not known, as a hint.

    Example:
        >>> suggestion("cross_plane", ["linear", "cross-plane"])
        "did you mean 'cross-plane'? known: linear, cross-plane"
        >>> suggestion("unet", ["linear", "cross-plane"])
        'use one of linear, cross-plane'
    """
    spelt = {each.lower().replace("_", "-"): each for each in known}
    near = difflib.get_close_matches(name.lower().replace("_", "-"), spelt, n=1, cutoff=0.75)
    if near:
        return f"did you mean {spelt[near[0]]!r}? known: {listed(known)}"
    return f"use one of {listed(known)}"


class MriImputeError(Exception):
    """Base of every expected failure.

    Args:
        problem: What is wrong, with the offending value and file in it.
        hint: What to do next, as an imperative sentence.
    """

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.hint = hint

    def __reduce__(self) -> tuple[type["MriImputeError"], tuple[str, str], dict[str, Any]]:
        """Says how to make it again, notes included, in the process that waits for a worker."""
        return type(self), (str(self), self.hint), self.__dict__


class ConfigError(MriImputeError):
    """A setting is unknown, ill-typed or contradicts another."""


class DeviceError(MriImputeError):
    """The device that was asked for is not there."""


class ExternalError(MriImputeError):
    """Another program failed, or what it wrote cannot be used."""


class MethodError(MriImputeError):
    """A method failed on a scan for a reason that nobody foresaw: a bug."""


class PeerError(MriImputeError):
    """Another process of those that share the task has ended."""


class ResourceError(MriImputeError):
    """There is not enough memory."""


class VolumeError(MriImputeError):
    """A scan cannot be read, or holds data that the tool does not accept."""


class GeometryError(VolumeError):
    """Affines or grids disagree, or a scan's geometry makes no sense."""


class CheckpointError(MriImputeError):
    """A checkpoint is missing, damaged or was written for another model."""


class TrainingError(MriImputeError):
    """Training cannot start or cannot go on."""


class OutputError(MriImputeError):
    """A result cannot be written, or would replace an existing one."""
