"""The files in a folder or a zip archive; nothing of an archive is ever unpacked to disk."""

import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase, BytesIO
from pathlib import Path

from mriimpute.errors import VolumeError

__all__ = ["Container", "open_container"]

MAX_MEMBERS = 100_000
"""Files in an archive."""

MAX_UNPACKED_BYTES = 16 << 30
"""Bytes of all files of an archive, unpacked."""

MAX_RATIO = 200
"""Of an archive as a whole: images shrink 2- to 10-fold, a zip bomb over 1000-fold."""

RATIO_COUNTS_FROM = 64 << 20
"""Bytes unpacked; a smaller archive does no harm, whatever its ratio."""

UNREADABLE = (
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class Container:
    """Files by name, in a folder (not below it) or in a zip archive.

    Attributes:
        path: Of the folder, the archive or the only file.
        names: Of the files, sorted.
        archive: None for a folder or a file.
    """

    path: Path
    names: tuple[str, ...]
    archive: zipfile.ZipFile | None = None

    def open(self, name: str, size: int = -1) -> BufferedIOBase:
        """Returns a file, or its first `size` bytes.

        Raises:
            VolumeError: If it cannot be read.
        """
        try:
            if self.archive is None:
                place = self.path / name if self.path.is_dir() else self.path
                file = place.open("rb")
                return file if size < 0 else _first(file, size)
            with self.archive.open(name) as member:
                return BytesIO(member.read(size))  # never more than the archive announces
        except UNREADABLE as error:
            raise VolumeError(
                f"{self.path}: {name} cannot be read: {_reason(error)}",
                hint="copy it again; an archive with a password must be unpacked first",
            ) from error


@contextmanager
def open_container(path: Path) -> Iterator[Container]:
    """Yields the files in a folder or a zip archive, or the one file that `path` is.

    Raises:
        VolumeError: If `path` is a damaged or a dangerous archive.
    """
    if path.is_dir():
        yield Container(path, tuple(sorted(p.name for p in path.iterdir() if p.is_file())))
        return
    if not path.name.lower().endswith(".zip"):
        yield Container(path, (path.name,))
        return
    try:
        archive = zipfile.ZipFile(path)
    except UNREADABLE as error:
        raise VolumeError(
            f"{path} is no readable zip archive: {_reason(error)}", hint="copy it again"
        ) from error
    with archive:
        yield Container(path, _safe_names(path, archive.infolist()), archive)


def _safe_names(path: Path, members: list[zipfile.ZipInfo]) -> tuple[str, ...]:
    """Returns the names of the files; stops before any of a dangerous archive is opened."""
    size = sum(member.file_size for member in members)
    compressed = sum(member.compress_size for member in members)
    if len(members) > MAX_MEMBERS or size > MAX_UNPACKED_BYTES:
        raise _dangerous(path, f"{len(members)} files of {size / 1e9:.3g} GB in all")
    if size > RATIO_COUNTS_FROM and size > MAX_RATIO * max(compressed, 1):
        raise _dangerous(path, f"it would grow {size / max(compressed, 1):.0f}-fold")
    # An archive whose members share their bytes is larger inside than outside.
    if compressed > path.stat().st_size:
        raise _dangerous(path, "its files overlap")

    names = []
    for member in members:
        name = member.filename
        if name.startswith(("/", "\\")) or ":" in name[:2] or ".." in _parts(name):
            raise _dangerous(path, "a file in it would be unpacked elsewhere")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise _dangerous(path, "it holds a symbolic link")
        if not member.is_dir():
            names.append(name)
    if len(set(names)) < len(names):
        raise _dangerous(path, "two files in it have one name")
    return tuple(sorted(names))


def _parts(name: str) -> list[str]:
    return name.replace("\\", "/").split("/")


def _first(file: BufferedIOBase, size: int) -> BufferedIOBase:
    with file:
        return BytesIO(file.read(size))


def _dangerous(path: Path, why: str) -> VolumeError:
    return VolumeError(
        f"{path} is refused: {why}",
        hint="unpack it yourself if you trust it, and pass the folder",
    )


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "password" if "password" in str(error) else "damaged, or of an unknown kind"
