"""A run folder: settings, journal, checkpoint, model, its gain, and what could not be read.

Until the run is finished, preprocessed scans are in it, too.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from mriimpute import config
from mriimpute.checkpoint import load, save, understood
from mriimpute.cohort import Cache
from mriimpute.distributed import ALONE, World
from mriimpute.errors import ConfigError
from mriimpute.files import (
    UNFINISHED,
    append,
    atomic,
    foreign,
    is_occupied,
    read_json,
    writable_folder,
    write_json,
)
from mriimpute.training.lock import locked

__all__ = ["RunFolder"]

Tensors = Mapping[str, Tensor] | Mapping[str, NDArray[Any]]
Saved = tuple[dict[str, Tensor], dict[str, Any]]

MARKS = {"name", "seed"}
"""Settings that every run has."""

HEAD = 8
"""Bytes that say how long plain values are, in front of tensors."""


class RunFolder:
    """The files of one run. Its settings never change; everything else grows.

    Of processes that share a run, only the main one opens, reads and writes the folder.

    Args:
        path: The folder; it need not exist.
        world: The processes that share the run.
    """

    def __init__(self, path: Path, world: World = ALONE) -> None:
        self.path = path
        self.world = world
        self.settings = path / "config.toml"
        self.journal = path / "journal.jsonl"
        self.checkpoint = path / "checkpoint.safetensors"
        self.model = path / "model.safetensors"
        self.unreadable = path / "unreadable.json"
        self.gain = path / "gain.json"
        self.cache = path / "cache"
        self.left_out: Sequence[str] = ()  # names of scans that cannot be read
        self._new_settings: Mapping[str, Any] | None = None
        self._replaces = False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other trainings out of the folder inside of the block.

        Two of them would mix their files: settings of the one, a model of the other.

        Raises:
            OutputError: If another training is at work there, or the folder holds something else
                than a run, or cannot be made.
        """
        if self._is_foreign():
            raise foreign(self.path, "run folder")
        with locked(self.path):
            yield

    def open(self, settings: Mapping[str, Any], *, overwrite: bool) -> None:
        """Finds out whether a run may start here, or go on with the same settings.

        Nothing changes until `begin`: a run that cannot begin is to cost no other one.

        Args:
            settings: Complete, as TOML gives them back.
            overwrite: What an earlier run left counts for nothing.

        Raises:
            ConfigError: If the folder holds a run with other settings.
            OutputError: If it holds something else, or cannot be written.
        """
        if self._is_foreign():
            raise foreign(self.path, "run folder")
        self._replaces = overwrite and self.settings.is_file()
        if self.settings.is_file() and not overwrite:
            self._compare(settings)
        else:
            writable_folder(self.path)
            self._new_settings = settings

    def begin(self) -> None:
        """Removes what an earlier run left, if that is to be, and writes settings and notes.

        Raises:
            OutputError: If the folder cannot be written.
        """
        if not self.world.main:
            return
        if self._replaces:
            for file in self._files():
                file.unlink(missing_ok=True)
        if self._new_settings is not None:
            with atomic(self.settings) as temporary:
                temporary.write_text(config.dump(self._new_settings), encoding="utf-8")
        self.note_unreadable(self.left_out)
        self._replaces, self._new_settings = False, None

    def remove(self) -> None:
        """Removes all that a run leaves, and the folder if nothing else is there."""
        for file in self._files():
            file.unlink(missing_ok=True)
        Cache(self.cache).remove()  # a face can be seen in it
        with suppress(OSError):
            self.path.rmdir()

    def saved(self, identity: Mapping[str, Any]) -> Saved | None:
        """Returns the state at the last checkpoint, or None at the beginning.

        All processes call it together: the main one tells the others what it finds.

        Args:
            identity: What `save` was given: settings and cohort.

        Raises:
            CheckpointError: If the checkpoint cannot be read.
            ConfigError: If it is of another cohort.
        """
        found = self._saved(identity) if self.world.main else None
        if self.world.size == 1:
            return found
        return _unpacked(self.world.broadcast(_packed(found)))

    def _saved(self, identity: Mapping[str, Any]) -> Saved | None:
        if self._replaces or not self.checkpoint.is_file():
            return None
        tensors, document = load(self.checkpoint, kind="state")
        with understood(self.checkpoint):
            cohort, state = document["cohort"], document["state"]
        # Runs that were begun before this was noted go on with whatever they are validated on.
        validation = document.get("validation", identity.get("validation"))
        for is_other, which in (
            (cohort != identity["cohort"], "scans"),
            (validation != identity.get("validation"), "scans to validate on"),
        ):
            if is_other:
                raise ConfigError(
                    f"{self.path} was begun with other {which}",
                    hint="choose another folder with -o, or pass --overwrite to begin anew",
                )
        return tensors, state

    def save(
        self,
        model: Tensors,
        state: Tensors,
        identity: Mapping[str, Any],
        numbers: Mapping[str, Any],
    ) -> None:
        """Writes the model file and the checkpoint.

        Args:
            model: What `impute` needs.
            state: What the next step depends on.
            identity: Settings and cohort; in both files.
            numbers: Plain values of the state; `step` among them.
        """
        if not self.world.main:
            return
        save(self.model, model, {**identity, "step": numbers["step"]})
        save(self.checkpoint, state, {**identity, "state": dict(numbers)}, kind="state")

    def note_unreadable(self, names: Sequence[str]) -> None:
        """Writes which scans of the cohort were left out, or removes the note where none is.

        It is no part of the model file, which may leave the house: a name may be a patient's.
        """
        if names:
            write_json(self.unreadable, {"scans": list(names)})
        else:
            self.unreadable.unlink(missing_ok=True)

    def note_gain(self, gain: Mapping[str, Any]) -> None:
        """Writes what training gave, unless that is told already: no step was taken since."""
        told = read_json(self.gain) if self.gain.is_file() else {}
        if any(told.get(key) != gain[key] for key in ("step", "finished")):
            write_json(self.gain, gain)

    def read_journal(self) -> list[dict[str, Any]]:
        """Returns all whole lines of the journal."""
        return [line for _, line in self._lines()]

    def _lines(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields the whole lines of the journal, as they stand there and as they are read."""
        if not self.journal.is_file():
            return
        for text in self.journal.read_text(encoding="utf-8").splitlines():
            try:
                yield text, json.loads(text)
            except ValueError:  # cut short when the machine went down
                return

    def append(self, line: Mapping[str, Any]) -> None:
        """Adds one line to the journal."""
        if self.world.main:
            append(self.journal, json.dumps(line) + "\n")

    def rewind(self, key: str, upto: int) -> None:
        """Drops journal lines that were written after the checkpoint.

        Args:
            key: Entry that counts up from line to line.
            upto: Its value at the checkpoint.
        """
        if not self.world.main or not self.journal.is_file():
            return
        kept = takewhile(lambda line: line[1][key] <= upto, self._lines())
        text = "".join(line + "\n" for line, _ in kept)
        with atomic(self.journal) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def _is_foreign(self) -> bool:
        """Tells whether the folder holds something else than what an overwritten run leaves."""
        if self.settings.is_file():
            return not MARKS.issubset(config.read_toml(self.settings))
        if not self.path.is_dir():
            return is_occupied(self.path)
        names = (path.name for path in self.path.iterdir())
        return any(name != self.cache.name and not UNFINISHED.match(name) for name in names)

    def _files(self) -> tuple[Path, ...]:
        own = self.checkpoint, self.model, self.journal, self.unreadable, self.gain
        return *own, self.settings  # the last: without it, it is no run folder

    def _compare(self, settings: Mapping[str, Any]) -> None:
        before, now = _flat(config.read_toml(self.settings)), _flat(settings)
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                raise ConfigError(
                    f"{self.path} was begun with {key} = {before.get(key)!r}, "
                    f"not {now.get(key)!r}",
                    hint="choose another folder with -o, or pass --overwrite to begin anew",
                )


def _packed(saved: Saved | None) -> bytes:
    if saved is None:
        return b""
    tensors, numbers = saved
    head = json.dumps(numbers).encode()
    return len(head).to_bytes(HEAD, "big") + head + to_bytes(tensors)


def _unpacked(message: bytes) -> Saved | None:
    if not message:
        return None
    end = HEAD + int.from_bytes(message[:HEAD], "big")
    return from_bytes(message[end:]), json.loads(message[HEAD:end])


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        below = isinstance(value, Mapping)
        flat |= _flat(value, f"{prefix}{key}.") if below else {prefix + key: value}
    return flat
