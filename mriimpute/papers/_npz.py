"""NumPy archives that may be damaged; reading one never runs code."""

import tokenize
import zlib
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

__all__ = ["DAMAGES", "read_names", "read_npz"]

DAMAGES = (
    AttributeError,
    EOFError,
    KeyError,
    OSError,
    RuntimeError,  # encrypted, or packed in a way that Python does not know
    TypeError,
    ValueError,
    BadZipFile,
    tokenize.TokenError,  # the header of an array
    zlib.error,
)
"""What reading a file can end with whose bytes are not those that were written."""


def read_npz(path: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Returns the arrays of an archive, all of them by default.

    Raises:
        Exception: One of `DAMAGES`.
    """
    # Opened here: np.load leaves the file of a damaged archive open.
    with path.open("rb") as file, np.load(file) as stored:
        return {name: stored[name] for name in (stored.files if names is None else names)}


def read_names(path: Path) -> list[str]:
    """Returns the names of the arrays of an archive; none if it is damaged."""
    try:
        with path.open("rb") as file, np.load(file) as stored:
            return list(stored.files)
    except DAMAGES:
        return []
