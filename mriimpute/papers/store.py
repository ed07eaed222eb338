"""Finished tasks on disk, so that the same command goes on where it stopped.

OUT/tasks/KEY.json    identity of the task, versions of what did it, seconds, numbers
OUT/tasks/KEY.npz     arrays
OUT/runs/NAME/        run folder of a task that goes on with its own training
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mriimpute.errors import OutputError
from mriimpute.files import UNFINISHED, atomic, foreign, is_occupied, writable_folder
from mriimpute.papers.data import DAMAGES, read_npz
from mriimpute.papers.experiment import Outcome
from mriimpute.provenance import version_of
from mriimpute.training.folder import RunFolder

__all__ = ["RUNS", "Finished", "TaskStore", "made_by", "prepare"]

RUNS = "runs"
RESULTS = ("record.json", "table.md", "table.tsv", "table_[0-9].tsv", "figure.png")


class Finished(NamedTuple):
    """An outcome, how long it took, and the versions of what computed it."""

    outcome: Outcome
    seconds: float
    versions: dict[str, str]


def made_by() -> dict[str, str]:
    """Returns the versions that are noted with an outcome.

    They are no part of its identity: hours of work are not done again for every version.
    """
    return {name: version_of(name) for name in ("mriimpute", "torch")}


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
            arrays = read_npz(path.with_suffix(".npz"))
            outcome = Outcome(stored["numbers"], arrays)
            return Finished(outcome, float(stored["seconds"]), dict(stored["versions"]))
        except DAMAGES:
            return None  # it is done anew, which replaces it

    def keep(
        self, key: tuple[str, ...], identity: Mapping[str, Any], outcome: Outcome, seconds: float
    ) -> None:
        """Writes an outcome, its numbers last: they are what tells that it is complete."""
        path = self._path(key)
        with atomic(path.with_suffix(".npz")) as temporary:
            path.unlink(missing_ok=True)  # or it would vouch for the arrays of another run
            np.savez_compressed(temporary, **outcome.arrays)  # type: ignore[arg-type]
        content = {
            "identity": identity,
            "versions": made_by(),
            "seconds": round(seconds, 3),
            "numbers": outcome.numbers,
        }
        with atomic(path) as temporary:
            # Not write_json: a number may be infinite or NaN, and must come back as it was.
            temporary.write_text(json.dumps(plain(content), indent=1) + "\n", encoding="utf-8")

    def identities(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yields the files of numbers that can be read, with the identity of each."""
        for path in sorted(self.folder.glob("*.json")):
            try:
                identity = json.loads(path.read_text(encoding="utf-8"))["identity"]
                if {"experiment", "seed"} <= identity.keys():
                    yield path, identity
            except DAMAGES:
                continue

    def remove(self) -> None:
        """Removes the tasks, their runs and results, and nothing else beside them."""
        tasks = [path for path, _ in self.identities()]
        results = [p for name in RESULTS for p in self.folder.parent.glob(name)] if tasks else []
        for run in (self.folder.parent / RUNS).glob("*/"):
            RunFolder(run).remove()
        # The tasks last: without them, what is left would be somebody else's.
        for path in (*results, *(path.with_suffix(".npz") for path in tasks), *tasks):
            path.unlink(missing_ok=True)

    def _path(self, key: tuple[str, ...]) -> Path:
        name = "__".join(re.sub(r"[^\w.@#+=-]", "-", word) for word in key)
        return self.folder / f"{name}.json"


def prepare(out: Path, shared: Mapping[str, Any], *, overwrite: bool) -> None:
    """Makes a folder ready for a reproduction, to begin it or to go on with it.

    Args:
        out: The folder.
        shared: What the identities of all its tasks have in common: a folder holds results of
            one experiment, budget, seed, kind of device and data.
        overwrite: Remove the tasks of the reproduction that it holds, whichever that is.

    Raises:
        OutputError: If it holds something else, or another reproduction, or cannot be written.
    """
    store = TaskStore(out)
    present = [identity for _, identity in store.identities()]
    if not present and not _is_bare(out) and is_occupied(out):
        raise foreign(out, "reproduction")
    if overwrite:
        store.remove()
    else:
        for before in present:
            _require_same(out, before, plain(shared))
    writable_folder(store.folder)


def _is_bare(out: Path) -> bool:
    """Returns whether a run was stopped here before its first task was kept."""
    tasks = out / "tasks"
    return (
        tasks.is_dir()
        and {path.name for path in out.iterdir()} <= {"tasks", RUNS}
        and {p.suffix for p in tasks.iterdir() if not UNFINISHED.match(p.name)} <= {".npz"}
    )


def _require_same(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Stops where a finished task is of another reproduction: it is not replaced unasked."""
    different = next((key for key in now if before.get(key) != now[key]), None)
    match different:
        case None:
            return
        case "experiment":
            of = ""
        case "data":
            of = " with other data"
        case key if key in before:
            of = f" with {key} {before[key]}"
        case _:
            of = " of an earlier version"
    raise OutputError(
        f"{out} holds {before['experiment']}{of}",
        hint="choose another folder with -o, or pass --overwrite to replace it",
    )


def plain(value: Any) -> Any:
    """Returns a value as it comes back from JSON: tuples are lists, NumPy numbers are numbers."""
    return json.loads(json.dumps(value, default=lambda number: number.item()))
