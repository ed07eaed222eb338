"""How long-running library code tells how far it is, without knowing who listens."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar, runtime_checkable

__all__ = ["Track", "silent"]

T = TypeVar("T")


@runtime_checkable
class Track(Protocol):
    """Passes items through and shows progress while they are consumed."""

    def __call__(self, items: Iterable[T], *, total: int, label: str) -> Iterator[T]:
        """Yields `items`; `total` is how many there will be, `label` what they are."""
        ...


def silent(items: Iterable[T], *, total: int, label: str) -> Iterator[T]:
    """Passes items through and shows nothing."""
    yield from items
