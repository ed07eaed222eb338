"""Finished tasks on disk, so that the same command goes on where it stopped.

OUT/tasks/KEY.json    identity of the task, seconds, numbers
OUT/tasks/KEY.npz     arrays
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from mriimpute.files import atomic
from mriimpute.reproduce._contract import Outcome

__all__ = ["Finished", "TaskStore"]

DAMAGES = (OSError, EOFError, KeyError, ValueError, TypeError, BadZipFile)


class Finished(NamedTuple):
    """An outcome, and how long it took."""

    outcome: Outcome
    seconds: float


class TaskStore:
    """The finished tasks of one folder.

    Args:
        out: The folder of a reproduction.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out / "tasks"

    def load(self, key: tuple[str, ...], identity: Mapping[str, Any]) -> Finished | None:
        """Returns what is stored; None where it is missing, damaged or of another identity."""
        path = self._path(key)
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored["identity"] != plain(identity):
                return None
            # Opened here: np.load leaves the file of a damaged archive open.
            with path.with_suffix(".npz").open("rb") as file, np.load(file) as stored_arrays:
                arrays = {name: stored_arrays[name] for name in stored_arrays.files}
            return Finished(Outcome(stored["numbers"], arrays), float(stored["seconds"]))
        except DAMAGES:
            return None  # it is done anew, which replaces it

    def keep(
        self, key: tuple[str, ...], identity: Mapping[str, Any], outcome: Outcome, seconds: float
    ) -> None:
        """Writes an outcome, its numbers last: they are what tells that it is complete."""
        path = self._path(key)
        path.unlink(missing_ok=True)  # or it would vouch for the arrays of another run
        with atomic(path.with_suffix(".npz")) as temporary:
            np.savez_compressed(temporary, **outcome.arrays)  # type: ignore[arg-type]
        content = {"identity": identity, "seconds": round(seconds, 3), "numbers": outcome.numbers}
        with atomic(path) as temporary:
            # Not write_json: a number may be infinite or NaN, and must come back as it was.
            temporary.write_text(json.dumps(plain(content), indent=1) + "\n", encoding="utf-8")

    def _path(self, key: tuple[str, ...]) -> Path:
        name = "__".join(re.sub(r"[^\w.@#+=-]", "-", word) for word in key)
        return self.folder / f"{name}.json"


def plain(value: Any) -> Any:
    """Returns a value as it comes back from JSON: tuples are lists, NumPy numbers are numbers."""
    return json.loads(json.dumps(value, default=lambda number: number.item()))
