"""One array in a file of its own, with facts about it: written at once, checked, mapped.

A file is the SHA-256 of all that follows, a line of JSON, and the numbers in half precision. One
file, not an array and a text beside it: two processes that write the same entry at the same time
cannot mix theirs.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16
from numpy.typing import NDArray

from mriimpute.errors import TrainingError
from mriimpute.files import atomic

__all__ = ["DamagedError", "Mapped", "forget_maps", "read_entry", "write_entry"]

SUM = 65
"""Bytes of the checksum and the end of its line."""

ALIGNED = 64
"""Numbers begin at a multiple of so many bytes."""

MAPS = 64
"""Files that are open at once, at most: a cohort has more than a process may open."""


class DamagedError(ValueError):
    """What a file holds is not what was written."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """An array in a file. Of it, only what is looked at comes into memory.

    Attributes:
        path: The file.
        checksum: In its first line.
        offset: Bytes before the numbers.
        shape: Of the array.
    """

    path: Path
    checksum: str
    offset: int
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[np.float16]:
        part: NDArray[np.float16] = _opened(self)[key]
        return part

    def __array__(
        self, dtype: np.dtype[Any] | None = None, copy: bool | None = None
    ) -> NDArray[Any]:
        return np.array(_opened(self), dtype=dtype)


def write_entry(path: Path, facts: Mapping[str, Any], array: Float16[np.ndarray, "..."]) -> Mapped:
    """Writes an array and facts about it, atomically, and returns the array as it lies there.

    Args:
        path: The file; one that exists is replaced.
        facts: Plain values.
        array: Not empty.

    Raises:
        OutputError: If the file cannot be written or the disk is full.
    """
    text = json.dumps({**facts, "shape": array.shape}, sort_keys=True).encode()
    text += b" " * (-(SUM + len(text) + 1) % ALIGNED) + b"\n"
    numbers = np.ascontiguousarray(array, "<f2").reshape(-1).view(np.uint8).data
    digest = hashlib.sha256(text)
    digest.update(numbers)
    checksum = digest.hexdigest()
    with atomic(path) as temporary, temporary.open("wb") as file:
        file.write(_line(checksum) + text)
        file.write(numbers)
    return Mapped(path, checksum, SUM + len(text), array.shape)


def read_entry(path: Path) -> tuple[dict[str, Any], Mapped]:
    """Returns the facts and the array in a file, once all of it was compared with its checksum.

    Raises:
        DamagedError: If it is not as it was written.
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        first = file.read(SUM)
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
        if first != _line(checksum):
            raise DamagedError(f"{path} is damaged")
        file.seek(SUM)
        text = file.readline()
    facts = json.loads(text)
    shape = tuple(facts.pop("shape"))
    return facts, Mapped(path, checksum, SUM + len(text), shape)


def forget_maps() -> None:
    """Closes the files that are open, so that one that is deleted also leaves the disk."""
    _opened.cache_clear()


@functools.lru_cache(maxsize=MAPS)
def _opened(entry: Mapped) -> NDArray[np.float16]:
    try:
        with entry.path.open("rb") as file:
            changed = file.read(SUM) != _line(entry.checksum)
            if not changed:
                numbers = np.memmap(file, "<f2", "r", entry.offset, entry.shape)
    except OSError as error:
        raise _gone(entry, error.strerror or str(error)) from error
    if changed:
        raise _gone(entry, "it was written anew")
    return np.asarray(numbers)


def _line(checksum: str) -> bytes:
    return f"{checksum}\n".encode()


def _gone(entry: Mapped, reason: str) -> TrainingError:
    return TrainingError(
        f"a preprocessed scan cannot be used any more: {entry.path}: {reason}",
        hint="run the same command again, and no other one with the same cache",
    )
