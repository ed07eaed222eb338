"""Writing files so that a killed run leaves none half written, and never over another's result."""

import csv
import errno
import hashlib
import io
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from secrets import token_hex
from typing import Any

from mriimpute.errors import ConfigError, OutputError

__all__ = [
    "TOO_LONG",
    "append",
    "atomic",
    "disk_of",
    "foreign",
    "free_bytes",
    "is_occupied",
    "located",
    "read_json",
    "read_tsv",
    "refuse_existing",
    "refuse_inside",
    "replacing",
    "sha256",
    "shipped",
    "writable_folder",
    "write_json",
    "write_tsv",
]

STARTED = time.time()

LONGEST_NAME = 200
"""Bytes of a file name that goes into that of an unfinished file; file systems allow 255."""

TOO_LONG = "shorten the name of the scan, or of a folder on the way: the system allows no more"
"""What to do about a name that the file system refuses."""

SURROGATE = re.compile(r"\\u(dc[89a-f][0-9a-f])")
"""How a byte of a file name that is not UTF-8 stands in files that are."""

UNFINISHED = re.compile(r"\.(\d+)\.([0-9a-f]{8}\.)?(partial\.|probe$)")
"""How the name of a file begins that is not finished.

The number is that of its process; what follows tells those apart that share a number, in several
containers or on several machines. Earlier versions had only the number.
"""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` and renames it onto `path` when the block succeeds.

    The temporary name ends like `path`, for writers that choose a format by the ending. What a
    killed process left of the same file is removed first.

    Raises:
        OutputError: If the folder cannot be written or the disk is full.
    """
    temporary = _beside(path, f"partial.{_shortened(path.name)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_partials(path)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(f"cannot write {path}", error) from error
    finally:
        with suppress(OSError):  # a second failure must not hide the first
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yields a new folder that takes the place of `folder` when the block succeeds.

    The old one goes last: where anything fails it is put back. What killed processes left of the
    same folder is removed first, or put back where it is all that is left.

    Raises:
        OutputError: If the folder cannot be written or the disk is full.
    """
    ending = _shortened(folder.name)
    temporary, old = _beside(folder, f"partial.{ending}"), _beside(folder, f"old.{ending}")
    try:
        for left in _abandoned(folder.parent, f"old.{ending}"):
            _put_back(left, folder)
        for left in _abandoned(folder.parent, f"partial.{ending}"):
            shutil.rmtree(left, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
    except OSError as error:
        raise _unwritable(f"cannot write {folder}", error) from error
    finally:
        _put_back(old, folder)
        shutil.rmtree(temporary, ignore_errors=True)


def _put_back(old: Path, folder: Path) -> None:
    """Gives an old folder its name again, or removes it where a new one has taken its place."""
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
    else:
        with suppress(OSError):  # there was none, or it stays under this name for the next call
            old.rename(folder)


def append(path: Path, text: str) -> None:
    """Adds `text` to the end of a file; where that fails, the file stays as it was.

    Raises:
        OutputError: If the file cannot be written or the disk is full.
    """
    before = path.stat().st_size if path.exists() else None
    try:
        with path.open("ab") as file:
            file.write(text.encode("utf-8"))
    except OSError as error:
        with suppress(OSError):
            path.unlink() if before is None else os.truncate(path, before)
        raise _unwritable(f"cannot write {path}", error) from error


def _unwritable(problem: str, error: OSError) -> OutputError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    hint = "choose a folder that you may write to with -o"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "free some space and run the same command again"
    elif error.errno == errno.ENAMETOOLONG:
        hint = TOO_LONG
    return OutputError(f"{problem}: {reason}", hint=hint)


def _beside(path: Path, ending: str) -> Path:
    """Returns a name beside `path` that no other process has, nor another call."""
    return path.with_name(f".{os.getpid()}.{token_hex(4)}.{ending}")


def _remove_partials(path: Path) -> None:
    """Removes temporary files of `path` whose process no longer runs."""
    for partial in _abandoned(path.parent, f"partial.{_shortened(path.name)}"):
        with suppress(OSError):  # another process may have been faster
            partial.unlink()


def _abandoned(folder: Path, ending: str) -> list[Path]:
    """Returns what processes that no longer run left under names of `_beside`.

    A process of another machine or container that shares the folder cannot be asked: what was
    touched since this process started may be its work, and stays. What is older and has the
    number of this process is of one before it: in a container all have the same.
    """
    abandoned = []
    for path in folder.glob(f".*.{escape(ending)}"):
        owner = re.match(r"\.(\d+)\.", path.name)
        if not owner or (int(owner[1]) != os.getpid() and _runs(int(owner[1]))):
            continue
        with suppress(OSError):  # another process may have been faster
            if path.stat().st_mtime < STARTED:
                abandoned.append(path)
    return abandoned


def _shortened(name: str) -> str:
    """Returns a file name, or one of its own that has room for more before it; it ends alike."""
    if len(os.fsencode(name)) <= LONGEST_NAME:
        return name
    return f"{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{name[-24:]}"


def _runs(pid: int) -> bool:
    if os.name != "posix":  # where signal 0 would not only ask
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Stops before an existing result is replaced.

    Raises:
        OutputError: If `path` exists (for a folder: holds anything) and `overwrite` is off.
    """
    if is_occupied(path) and not overwrite:
        raise OutputError(f"{path} exists", hint="pass --overwrite to replace it")


def foreign(path: Path, kind: str) -> OutputError:
    """Returns the error of a place that holds something else than results of a kind.

    Nothing there is replaced, also with `--overwrite`: it is somebody else's.
    """
    return OutputError(f"{path} exists and is no {kind}", hint="choose another folder with -o")


def is_occupied(path: Path) -> bool:
    """Tells whether something is there: a file, or a folder with more than unfinished files."""
    if not path.is_dir():
        return path.exists()
    return not all(UNFINISHED.match(file.name) for file in path.iterdir())


def refuse_inside(folder: Path, source: Path) -> None:
    """Stops before results are put among inputs.

    Links are followed first: a link into a folder of inputs leads into it.

    Args:
        folder: For results.
        source: What is read. In a folder of inputs only `derivatives` may hold results, which is
            where BIDS wants them.

    Raises:
        OutputError: If so.
    """
    place, tree = folder.resolve(), source.resolve()
    if not tree.is_dir() or not place.is_relative_to(tree):
        return
    if place.relative_to(tree).parts[:1] != ("derivatives",):
        raise OutputError(
            f"{folder} lies in {source}, which is input",
            hint="choose a folder outside with -o",
        )


def writable_folder(path: Path) -> None:
    """Makes a folder and tries it out, so that hours of work do not end in a refusal.

    Raises:
        OutputError: If nothing can be written there.
    """
    probe = _beside(path / "probe", "probe")
    try:
        path.mkdir(parents=True, exist_ok=True)
        for left in _abandoned(path, "probe"):
            left.unlink(missing_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _unwritable(f"cannot write into {path}", error) from error


def free_bytes(path: Path) -> int | None:
    """Returns what a file system still takes; None where it does not tell.

    Args:
        path: On it; it need not exist.
    """
    try:
        return shutil.disk_usage(_nearest(path)).free
    except OSError:
        return None


def disk_of(path: Path) -> int | None:
    """Returns what tells the file system of a path from others; None where nothing does.

    Args:
        path: On it; it need not exist.
    """
    try:
        return _nearest(path).stat().st_dev
    except OSError:
        return None


def _nearest(path: Path) -> Path:
    """Returns the path, or the nearest folder above it that exists."""
    return next((place for place in (path, *located(path).parents) if place.exists()), path)


def located(path: Path) -> Path:
    """Returns `path` absolute and without `..`; unlike `resolve` it follows no link."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file that this package wrote.

    Raises:
        OutputError: If it is damaged or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(path) from error
    if not isinstance(content, dict):
        raise _damaged(path)
    return content


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Returns the rows of a table by the names in its header.

    A file name that is not UTF-8 comes back as `write_tsv` was given it.

    Raises:
        ConfigError: If it is no table in UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (ValueError, csv.Error) as error:
        raise ConfigError(
            f"{path} is no table: {error}", hint="save it as tab-separated text in UTF-8"
        ) from error
    return [{key: _unescaped(value or "") for key, value in row.items() if key} for row in rows]


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes `content` as indented JSON, atomically; NaN becomes null, for strict readers."""
    text = json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False)
    with atomic(path) as temporary:
        # A file name that is not UTF-8 holds lone surrogates, see `SURROGATE`.
        temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def write_tsv(path: Path, rows: Sequence[Mapping[str, Any]], *, delimiter: str = "\t") -> None:
    """Writes one line per row, atomically; the first row's keys are the header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", errors="backslashreplace")


def shipped(name: str) -> Path:
    """Returns the file of the weights that the package brings for a model."""
    return Path(__file__).with_name("weights") / f"{name}.safetensors"


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unescaped(text: str) -> str:
    return SURROGATE.sub(lambda found: chr(int(found[1], 16)), text)


def _damaged(path: Path) -> OutputError:
    return OutputError(f"{path} is damaged", hint="pass --overwrite to do everything again")


def _finite(value: Any) -> Any:
    match value:
        case Mapping():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case float() if value != value or value in (float("inf"), float("-inf")):
            return None
        case _:
            return value
