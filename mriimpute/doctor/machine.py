"""Facts about a machine that can be read at once, without loading a heavy library."""

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from mriimpute.doctor.check import Check
from mriimpute.memory import main_memory
from mriimpute.provenance import version_of

__all__ = ["machine_checks", "machine_facts"]

INSTRUCTIONS = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_bf16",
    "asimd",
    "sve",
    "bf16",
)
"""Those that libraries of linear algebra choose their kernels by; of x86 and ARM."""

HEAD_BYTES = 2 * 2**30
"""An imputation of 192 x 176 x 224 voxels takes less."""

TEMPORARY_BYTES = 100 * 2**20
"""Of caches of libraries."""


def machine_facts() -> dict[str, dict[str, Any]]:
    """Returns what is known without computing anything, ready for JSON.

    Sizes are in bytes; None where the system does not tell. No path is in it: facts are made for
    reports of bugs, and names of folders may be names of patients.
    """
    memory = main_memory()
    return {
        "versions": {"mriimpute": version_of("mriimpute"), "python": platform.python_version()}
        | _dependencies(),
        "system": {"platform": platform.platform(), "machine": platform.machine()},
        "cpu": _cpu(Path("/proc/cpuinfo")),
        "memory": {
            "total_bytes": memory.total,
            "available_bytes": memory.available,
            "limit_bytes": memory.limit,
        },
        "disk": {
            "temporary_free_bytes": _free(tempfile.gettempdir),
            "current_free_bytes": _free(os.getcwd),
            "shared_memory_bytes": _free(lambda: "/dev/shm"),  # noqa: S108 (asked, not used)
        },
        "gpu": {"driver": _driver(Path("/proc/driver/nvidia/version"))},
    }


def machine_checks(facts: dict[str, dict[str, Any]]) -> list[Check]:
    """Returns what the facts of a machine say about what it can do."""
    memory = facts["memory"]["available_bytes"]
    temporary = facts["disk"]["temporary_free_bytes"]
    return [
        _at_least("memory for a head of 1 mm", memory, HEAD_BYTES, "close other programs"),
        _at_least("room in the temporary folder", temporary, TEMPORARY_BYTES, "set TMPDIR"),
    ]


def _at_least(name: str, measured: int | None, limit: int, note: str) -> Check:
    if measured is None:
        return Check(name, "warn", None, float(limit), "bytes", "not known")
    if measured < limit:
        return Check(name, "warn", float(measured), float(limit), "bytes", note)
    return Check(name, "ok", float(measured), float(limit), "bytes")


def _dependencies() -> dict[str, str]:
    """Returns the versions of what this package needs at run time."""
    needed = [line for line in requires("mriimpute") or [] if "extra ==" not in line]
    names = {re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in needed}
    return {name: version_of(name) for name in sorted(names, key=str.lower)}


def _cpu(info: Path) -> dict[str, Any]:
    text = _text(info)
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    supported = set(flags[1].split()) if flags else set()
    return {
        "model": model[1] if model else platform.processor() or None,
        "instruction_sets": [name for name in INSTRUCTIONS if name in supported],
        "cores": os.cpu_count(),
        "usable_cores": _usable_cores(),
    }


def _usable_cores() -> int | None:
    """Returns the cores that this process may run on: a job is often given a part of a node."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _free(folder: Callable[[], str]) -> int | None:
    try:
        return shutil.disk_usage(folder()).free
    except OSError:  # there is none, or not one that may be written to
        return None


def _driver(path: Path) -> str | None:
    match = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", _text(path))
    return match[1] if match else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
