"""One training at a time in a folder: a lock that the system takes from whoever has ended."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mriimpute.errors import OutputError
from mriimpute.files import writable_folder

__all__ = ["locked"]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes a folder, and keeps everyone else who locks it out of it inside of the block.

    A folder that was made for nothing is removed again.

    Raises:
        OutputError: If another process, or another call, has locked it; or nothing can be written
            there.
    """
    is_new = not folder.exists()
    writable_folder(folder)
    handle = os.open(folder, os.O_RDONLY) if os.name == "posix" else None  # no lock on Windows
    try:
        if handle is not None:
            _lock(handle, folder)
        yield
    finally:
        if handle is not None:
            os.close(handle)
        if is_new:
            with suppress(OSError):  # something was put there
                folder.rmdir()


def _lock(handle: int, folder: Path) -> None:
    import fcntl  # not on Windows

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputError(
            f"{folder} is in use by another process",
            hint="wait until that has ended, or choose another folder with -o",
        ) from error
    except OSError:  # a file system of a network that locks no folders
        return
