"""Facts about a machine that can be read at once, without loading a heavy library."""

import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

from mriimpute.device import cuda_of_torch, driver_version
from mriimpute.doctor.check import Check
from mriimpute.memory import main_memory
from mriimpute.provenance import LIBRARIES, version_of
from mriimpute.workers import available_cores

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

SMI_SECONDS = 5.0
"""For `nvidia-smi` to answer: it waits for a driver that hangs."""

SHARED_MEMORY = "/dev/shm"  # noqa: S108 (asked, not used)

DRIVERS = {"11": 450, "12": 525, "13": 580}
"""The first driver for each CUDA."""

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
            "shared_memory_bytes": _free(lambda: SHARED_MEMORY),
            "shared_memory_usable": _usable(SHARED_MEMORY),
        },
        "gpu": _gpu(),
    }


def machine_checks(facts: dict[str, dict[str, Any]]) -> list[Check]:
    """Returns what the facts of a machine say about what it can do.

    Args:
        facts: With what torch says as "accelerator", if it was asked.
    """
    memory = facts["memory"]["available_bytes"]
    temporary = facts["disk"]["temporary_free_bytes"]
    seen = facts["accelerator"]["devices"] if "accelerator" in facts else None
    return [
        _of_gpu(facts["gpu"], None if seen is None else len(seen)),
        _at_least("memory for a head of 1 mm", memory, HEAD_BYTES, "close other programs"),
        _at_least("room in the temporary folder", temporary, TEMPORARY_BYTES, "set TMPDIR"),
        _of_shared_memory(facts["disk"]["shared_memory_usable"]),
    ]


def _of_gpu(gpu: dict[str, Any], seen: int | None) -> Check:
    """Returns whether torch can use the GPUs that are there.

    Args:
        gpu: What system and installation say.
        seen: As many torch can use; None where it was not asked.
    """
    named, driver, cuda = len(gpu["devices"]), gpu["driver"], gpu["torch_cuda"]
    if not (named or driver or seen):
        return Check("GPU", "skipped", note="none: the CPU computes")
    if cuda is None:
        return Check("GPU", "warn", note="torch has no CUDA: the CPU computes; reinstall torch")
    major = re.match(r"\d+", driver or "")
    if not seen and major and int(major[0]) < DRIVERS.get(cuda.partition(".")[0], 0):
        old = f"the driver, {driver}, is too old for CUDA {cuda}: the CPU computes; renew it"
        return Check("GPU", "warn", note=old)
    if seen == 0:
        hidden = "torch sees none: the CPU computes; look at driver and CUDA_VISIBLE_DEVICES"
        return Check("GPU", "warn", note=hidden)
    if not (named or seen):
        return Check("GPU", "warn", note="nvidia-smi names none; in a container pass --gpus all")
    return Check("GPU", "ok", float(named if seen is None else seen), 1.0, "GPUs")


def _of_shared_memory(usable: bool | None) -> Check:
    """Returns whether several processes can work together, as with `evaluate --jobs`."""
    if usable is None:
        return Check("shared memory", "skipped", note="this system needs no folder for it")
    if not usable:
        note = "not usable: several processes cannot work; mount a tmpfs on /dev/shm"
        return Check("shared memory", "warn", note=note)
    return Check("shared memory", "ok")


def _at_least(name: str, measured: int | None, limit: int, note: str) -> Check:
    if measured is None:
        return Check(name, "warn", None, float(limit), "bytes", "not known")
    if measured < limit:
        return Check(name, "warn", float(measured), float(limit), "bytes", note)
    return Check(name, "ok", float(measured), float(limit), "bytes")


def _dependencies() -> dict[str, str]:
    """Returns the versions of what this package needs at run time."""
    try:
        lines = requires("mriimpute") or []
    except PackageNotFoundError:  # run from its source, not installed
        return {name: version_of(name) for name in LIBRARIES}
    needed = [line for line in lines if "extra ==" not in line]
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
        "usable_cores": available_cores(),
    }


def _gpu() -> dict[str, Any]:
    """Returns the driver, the CUDA of torch, and the GPUs that `nvidia-smi` knows, if there is."""
    facts = {"driver": driver_version(), "torch_cuda": cuda_of_torch()}
    program = shutil.which("nvidia-smi")
    if program is None:
        return facts | {"devices": []}
    question = "name,compute_cap,memory.total,memory.free,driver_version"
    words = [program, f"--query-gpu={question}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(  # noqa: S603
            words, capture_output=True, check=True, text=True, timeout=SMI_SECONDS
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return facts | {"devices": []}
    rows = [line.split(", ") for line in answer.splitlines() if line.count(", ") == 4]
    facts["driver"] = rows[0][4] if rows else facts["driver"]
    return facts | {"devices": list(map(_device, rows))}


def _device(row: list[str]) -> dict[str, Any]:
    name, capability, total, free, _ = row
    mebibytes = {"memory_total_bytes": total, "memory_free_bytes": free}
    memory = {key: int(n) * 2**20 if n.isdecimal() else None for key, n in mebibytes.items()}
    return {"name": name, "compute_capability": capability, **memory}


def _free(folder: Callable[[], str]) -> int | None:
    try:
        return shutil.disk_usage(folder()).free
    except OSError:  # there is none, or not one that may be written to
        return None


def _usable(folder: str) -> bool | None:
    """Tells whether the semaphores of Linux can lie in a folder; None on other systems."""
    return os.access(folder, os.W_OK) if platform.system() == "Linux" else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
