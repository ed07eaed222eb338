"""Errors a user can act on; anything else that escapes is a bug."""

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
]


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
