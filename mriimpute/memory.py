"""How much memory there is, and what to say when it is not enough.

The machine is not the only one who sets a limit: a container or a job of a scheduler has its own
(a control group of Linux, version 1 or 2, which kills whoever exceeds it), a shell may have one
(`ulimit -v`), and a GPU is shared.
"""

import ctypes
import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mriimpute.control_groups import control_groups
from mriimpute.errors import ResourceError

__all__ = [
    "Memory",
    "available_bytes",
    "format_bytes",
    "hand_back_freed_memory",
    "is_shortage",
    "keep_freed_memory",
    "limited_memory",
    "main_memory",
    "require_loadable",
    "require_memory",
    "shortage_as_error",
]

UNLIMITED = 2**60
"""Control groups of version 1 write a number beyond this where there is no limit."""

MALLOPT = {"M_MMAP_THRESHOLD": (-3, 2**26), "M_TRIM_THRESHOLD": (-1, 2**31 - 1)}
"""Numbers, from malloc.h of glibc, and values. 64 MiB: layers of a network and images of 1 mm are
kept, larger images are handed back. Where these were kept, too, holes between them that fitted
nothing else took a third of the memory of a head of 34 million voxels.
"""

LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""Variable that torch reads at its first tensor; "1": the kernel is asked for pages of 2 MiB."""

AMPLE = 2**35
"""Bytes of address space, which libraries for GPUs take more of than of memory."""

LOADING = """
import mmap, resource, sys
from importlib import import_module
resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
ballast = mmap.mmap(-1, 2**26)
for name in sys.argv[1:]:
    import_module(name)
import numpy as np
np.linalg.solve(np.eye(300), np.ones((300, 300)) @ np.ones((300, 300)))
if torch := sys.modules.get("torch"):
    torch.nn.functional.conv2d(torch.zeros(1, 8, 64, 64), torch.zeros(8, 8, 3, 3))
    torch.linalg.solve(torch.eye(300), torch.ones(300, 300) @ torch.ones(300, 300))
"""
"""A program that loads modules and computes a little, beside some memory that it holds.

OpenBLAS may ask for memory again and again: seconds of computing end it, however busy the machine.
"""

SHORTAGE_WORDS = (
    "DefaultCPUAllocator",
    "could not create a primitive",
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "Failed to allocate memory",
    "STATUS_ALLOC_FAILED",
    "could not create a memory object",
    "failed to map segment",
    "Cannot allocate memory",
)
"""What libraries say that have no exception of their own for it."""


def keep_freed_memory() -> bool:
    """Tells the C library to keep what is freed instead of handing it back; tells if it will.

    Every layer of a network frees a large array and asks for another. glibc gives such arrays back
    to the kernel, which clears each page anew: 14 of the 48 s that imputing a head took on
    a busy CPU. Other C libraries are left alone. Torch is told to ask for large pages, unless
    somebody said otherwise: a third as many to clear, and a seventh less memory of a head of 1 mm.
    """
    os.environ.setdefault(LARGE_PAGES, "1")
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    done = [mallopt(number, value) for number, value in MALLOPT.values()]
    return all(done)


def hand_back_freed_memory() -> bool:
    """Tells the C library to hand back what was freed so far; tells if any was.

    What `keep_freed_memory` keeps is in pieces: between them lies what is small and stays, such as
    kernels for each shape of a layer. A whole image fits into none of them. So after work in many
    shapes it is better to begin anew.
    """
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (AttributeError, OSError, TypeError):
        return False


@dataclass(frozen=True, slots=True)
class Memory:
    """Main memory, in bytes; None where the system does not tell.

    Attributes:
        total: Of the machine.
        available: What this process may still take.
        limit: Of the control group, the container's or the job's.
    """

    total: int | None
    available: int | None
    limit: int | None


def main_memory(root: Path = Path("/")) -> Memory:
    """Returns what the machine, the control group and the process leave.

    Args:
        root: Where `proc` and `sys` are.
    """
    machine = _table(root / "proc/meminfo", unit=1024)
    groups = list(_groups(root))
    limits = [limit for limit, _ in groups]
    free = [
        machine.get("MemAvailable"),
        *(left for _, left in groups),
        _left_by_ulimit(root),
        _left_by_user(root),
    ]
    known = [count for count in free if count is not None]
    return Memory(
        total=machine.get("MemTotal"),
        available=max(min(known), 0) if known else None,
        limit=min(limits, default=None),
    )


def available_bytes(device: str) -> int | None:
    """Returns what this process may still take of a device's memory; None where nobody knows.

    Args:
        device: "cpu" or "cuda:N".
    """
    if device == "cpu":
        return main_memory().available
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    # What torch holds and does not use.
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def require_memory(needed: int, free: int | None, *, what: str) -> None:
    """Stops before more memory is asked for than there is.

    Args:
        needed: Bytes.
        free: Bytes that may be taken, see `available_bytes`; None where nobody knows.
        what: Needs it, such as the name of a scan; for messages.

    Raises:
        ResourceError: If it is too much.
    """
    if free is not None and needed > free:
        more = "raise --mem-mb" if _limit else "close other programs"
        raise ResourceError(
            f"{what}: needs about {format_bytes(needed)} of memory, {format_bytes(free)} are free",
            hint=f"{more}, use a machine with more memory, or a larger --spacing",
        )


LIBRARIES = ("nibabel", "scipy.interpolate")
"""What every command loads; with torch behind them, all that is large."""


@functools.cache
def require_loadable(*modules: str) -> None:
    """Stops before libraries are loaded that do not fit below a limit of `ulimit -v`.

    A library that finds no memory while it is loaded ends the process, or leaves itself half
    loaded. So one that loads the same, and then computes, goes ahead; nothing is tried where there
    is no limit, or a large one.

    Args:
        modules: Names of modules.

    Raises:
        ResourceError: If they do not fit.
    """
    left = _left_by_ulimit(Path("/"))
    if left is None or left > AMPLE or all(name in sys.modules for name in modules):
        return
    words = [sys.executable, "-c", LOADING, *modules]
    with suppress(OSError):  # there is not even room for another process
        if subprocess.run(words, capture_output=True, check=False).returncode == 0:  # noqa: S603
            return
    raise ResourceError(
        f"{format_bytes(left)} of address space are left by `ulimit -v`, too little to load "
        f"{modules[-1].partition('.')[0]}",
        hint="raise that limit, or ask the scheduler for more memory",
    )


@contextmanager
def shortage_as_error(what: str) -> Iterator[None]:
    """Turns an allocation that fails inside the block into an error about `what`.

    Raises:
        ResourceError: If so.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_shortage(error):
            raise
        raise ResourceError(
            f"{what}: out of memory on the {'GPU' if _of_gpu(error) else 'CPU'}",
            hint="close other programs, or use a machine with more memory",
        ) from error


def is_shortage(error: BaseException) -> bool:
    """Tells whether an error of any library says that memory ran out.

    Example:
        >>> is_shortage(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
        True
        >>> is_shortage(RuntimeError("shapes differ"))
        False
    """
    return isinstance(error, MemoryError) or any(words in str(error) for words in SHORTAGE_WORDS)


def format_bytes(count: int) -> str:
    """Returns a number of bytes as people write it.

    Example:
        >>> format_bytes(7 * 2**29), format_bytes(2**20), format_bytes(2000), format_bytes(7)
        ('3.5 GiB', '1 MiB', '2 KiB', '7 bytes')
    """
    if count < 2**10:
        return f"{count} bytes"
    if count < 2**20:
        return f"{count / 2**10:.0f} KiB"
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _of_gpu(error: BaseException) -> bool:
    torch = sys.modules.get("torch")
    is_cuda = torch is not None and isinstance(error, torch.OutOfMemoryError)
    return is_cuda or re.search("CUDA|CUDNN|CUBLAS", str(error)) is not None


def _groups(root: Path) -> Iterator[tuple[int, int]]:
    """Yields limit and free bytes of every control group of this process that has a limit."""
    for folder, is_v2 in control_groups(root, "memory"):
        files = ("max", "current") if is_v2 else ("limit_in_bytes", "usage_in_bytes")
        idle = "inactive_file" if is_v2 else "total_inactive_file"
        most, taken = (_number(folder / f"memory.{file}") for file in files)
        if most is not None and taken is not None and most < UNLIMITED:
            yield most, most - taken + _table(folder / "memory.stat").get(idle, 0)


@contextmanager
def limited_memory(limit: int) -> Iterator[None]:
    """Makes this process look upon its memory as no more than `limit` bytes inside the block.

    What is estimated not to fit is refused, or done in smaller tiles; nothing is enforced.

    Args:
        limit: Bytes of all that this process holds; 0 sets none.
    """
    global _limit
    before, _limit = _limit, limit
    try:
        yield
    finally:
        _limit = before


_limit = 0


def _left_by_user(root: Path) -> int | None:
    """Returns what `limited_memory` leaves; None where there is no such limit."""
    if not _limit:
        return None
    pages = _text(root / "proc/self/statm").split()
    held = int(pages[1]) * os.sysconf("SC_PAGESIZE") if len(pages) > 1 else 0
    return _limit - held


def _left_by_ulimit(root: Path) -> int | None:
    """Returns what `ulimit -v` leaves; None where it sets no limit."""
    if os.name != "posix":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = _text(root / "proc/self/statm").split()
    if limit == resource.RLIM_INFINITY or not pages:
        return None
    return limit - int(pages[0]) * resource.getpagesize()


def _table(path: Path, *, unit: int = 1) -> dict[str, int]:
    """Returns the numbers in lines of a name and a number."""
    pairs = re.findall(r"^(\w+):?\s+(\d+)", _text(path), flags=re.MULTILINE)
    return {name: int(number) * unit for name, number in pairs}


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
