"""Scans as training wants them, on disk: each is decompressed and normalised once.

Every scan is a file that training maps into memory, so the system holds as much of a cohort as
there is room for and a run takes no more of it than one of ten scans does. A file is written at
once and compared with its checksum before it is used. It is built again where it is damaged,
where the scan or the observed image beside it has changed, and after a change of this package or
of a library that numbers depend on.

A file holds intensities of acquired slices and where they lie: a face can be seen in them. It
holds no name and no field of a header; its own name is a checksum.
"""

import dataclasses
import functools
import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mriimpute.cohort.entry import DamagedError, Mapped, forget_maps, read_entry, write_entry
from mriimpute.cohort.slices import SliceScan, read_slices, resized
from mriimpute.cohort.sparse import SparseScan, read_sparse
from mriimpute.cohort.split import observed_beside
from mriimpute.files import located
from mriimpute.io import checksum
from mriimpute.provenance import version_of

__all__ = ["Cache"]

log = logging.getLogger(__name__)

T = TypeVar("T", SliceScan, SparseScan)

Seen = tuple[str, list[int] | None]
"""The checksum of a file, and its size and times."""

ENDING = ".slices"

NOTHING = np.zeros(1, np.float16)

CODE = ("cohort/*.py", "io/**/*.py", "geometry.py", "otsu.py", "volume.py")
LIBRARIES = ("numpy", "scipy", "nibabel", "pydicom")
"""What preprocessed numbers depend on."""


class Cache:
    """Preprocessed scans in a folder. Several processes may share it.

    Args:
        folder: It need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[tuple[Path, str], Any] = {}
        self._sources: dict[Path, list[Path]] = {}
        self._seen: dict[Path, Seen] = {}

    def slices(self, path: Path, scale: float = 1.0) -> SliceScan | None:
        """Returns the slices of the scan at `path`, or None where there is nothing to learn from.

        Args:
            path: Of the scan.
            scale: With pixels so many times as long, see `resized`.

        Raises:
            OutputError: If the folder cannot be written or the disk is full.
            VolumeError: If the scan cannot be read or nothing is missing in it.
        """
        if scale == 1:
            return self._scan(SliceScan, path, "slices", lambda: read_slices(path))
        fine = self.slices(path)
        if fine is None:
            return None
        return self._scan(SliceScan, path, f"slices {scale!r}", lambda: resized(fine, scale))

    def sparse(self, path: Path) -> SparseScan:
        """Returns the acquired voxels of the scan at `path`.

        Raises:
            OutputError: If the folder cannot be written or the disk is full.
            VolumeError: If the scan cannot be read or nothing is missing in it.
        """
        scan = self._scan(SparseScan, path, "sparse", lambda: read_sparse(path))
        if scan is None:
            raise ValueError(f"{path.name} must have acquired voxels")
        return scan

    def checksum(self, path: Path) -> str:
        """Returns the SHA-256 of a scan, or of an image beside one.

        It is that of when this object first looked at it. A file that has the size and times
        that an entry of the cache noted is not read for it.
        """
        return self._look(path)[0]

    def remove(self) -> None:
        """Deletes what is in the folder, and the folder if nothing else is there."""
        self._known.clear()
        forget_maps()
        for file in self.folder.glob(f"*{ENDING}"):
            file.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def _scan(
        self, kind: type[T], path: Path, purpose: str, make: Callable[[], T | None]
    ) -> T | None:
        if (path, purpose) not in self._known:
            self._known[path, purpose] = self._found(kind, path, purpose, make)
        found: T | None = self._known[path, purpose]
        return found

    def _found(
        self, kind: type[T], path: Path, purpose: str, make: Callable[[], T | None]
    ) -> T | None:
        name = hashlib.sha256(f"{purpose} {located(path)}".encode(errors="surrogateescape"))
        file = self.folder / f"{name.hexdigest()[:32]}{ENDING}"
        if path not in self._sources:
            self._sources[path] = [path, *filter(None, [observed_beside(path)])]
        try:
            if (stored := self._valid(file, self._sources[path])) is not None:
                return _restored(kind, path.name, *stored)
            # Before the scan is read: should it change meanwhile, this entry is not valid.
            seen = [self._look(source) for source in self._sources[path]]
        except OSError:
            make()  # says what is wrong with it
            raise
        scan = make()
        facts = {"made": _maker(), "sources": seen, "scan": _facts(scan)}
        mapped = write_entry(file, facts, np.asarray(scan.slices) if scan else NOTHING)
        return dataclasses.replace(scan, slices=mapped) if scan else None

    def _valid(
        self, file: Path, sources: list[Path]
    ) -> tuple[dict[str, Any] | None, Mapped] | None:
        """Returns what an entry says and holds, or None where it has to be built."""
        try:
            facts, mapped = read_entry(file)
        except FileNotFoundError:
            return None
        except (DamagedError, OSError) as error:
            log.warning("a preprocessed scan is built again: %s", error)
            return None
        if facts.get("made") != _maker():
            log.info("%s is read again: another version preprocessed it", sources[0].name)
            return None

        noted = [tuple(seen) for seen in facts["sources"]]
        known = noted if len(noted) == len(sources) else [None] * len(sources)
        now = [self._look(path, seen)[0] for path, seen in zip(sources, known, strict=True)]
        if [checksum for checksum, _ in noted] != now:
            log.info("%s is read again: it has changed", sources[0].name)
            return None
        return facts["scan"], mapped

    def _look(self, path: Path, noted: Seen | None = None) -> Seen:
        """Returns what a file is, or was when it was first asked for."""
        if path not in self._seen:
            state = _state(path)
            same = noted is not None and state is not None and noted[1] == state
            self._seen[path] = noted if same and noted else (checksum(path), state)
        return self._seen[path]


def _facts(scan: SliceScan | SparseScan | None) -> dict[str, Any] | None:
    if scan is None:
        return None
    names = [field.name for field in dataclasses.fields(scan)]
    return {name: _plain(getattr(scan, name)) for name in names if name not in ("name", "slices")}


def _restored(kind: type[T], name: str, facts: dict[str, Any] | None, slices: Mapped) -> T | None:
    if facts is None:
        return None
    fields: dict[str, Any] = {name: _fixed(value) for name, value in facts.items()}
    if kind is SparseScan:
        fields["positions"] = np.array(fields["positions"], np.int64)
    return kind(name=name, slices=slices, **fields)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _fixed(value: Any) -> Any:
    return tuple(map(_fixed, value)) if isinstance(value, list) else value


def _state(path: Path) -> list[int] | None:
    """Returns what changes with a file; None for a series of DICOM, which is many files."""
    if not path.is_file():
        return None
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


@functools.cache
def _maker() -> dict[str, str]:
    """Returns what decides the numbers, next to the scan."""
    root = Path(__file__).parents[1]
    files = sorted(file for pattern in CODE for file in root.glob(pattern))
    code = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return {"code": code} | {name: version_of(name) for name in LIBRARIES}
