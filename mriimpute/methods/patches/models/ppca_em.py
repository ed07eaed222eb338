"""The subspace `ppca`, fitted by expectation maximisation instead of gradient descent."""

from dataclasses import dataclass

from mriimpute.methods.patches.models import ppca

__all__ = ["Config"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(ppca.Config):
    """Settings of `Ppca`."""
