"""The self-test, in a process of its own.

A kernel that a CPU or a driver does not support ends the process ("illegal instruction"): then
the parent is there to say so, and which check it was.
"""

import multiprocessing
import signal
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from mriimpute.doctor.check import Check
from mriimpute.workers import begin_worker

__all__ = ["accelerators", "all_checks", "self_test"]

SECONDS = 300.0
"""After so long without a word the self-test is given up."""

GRACE = 10.0
"""Seconds for the process to end when it has told everything."""

START, END = "start of the self-test", "end"

CURE = "set ONEDNN_MAX_CPU_ISA=AVX2 and try again; then set it for mriimpute, too"


def self_test(device: str) -> Iterator[Check | dict[str, Any]]:
    """Yields facts about torch and its devices, then one check after the other.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N". The CPU is tested in any case.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_tell, args=(there, device), daemon=True)
    process.start()
    there.close()
    last = START
    try:
        while (told := _next(here)) is not None:
            if told == END:
                return
            if isinstance(told, Check):
                last = told.name
            yield told
    finally:
        here.close()
        process.join(GRACE)
        if process.is_alive():
            process.kill()
            process.join()
    yield Check("self-test", "fail", note=f"{_end(process.exitcode)} after: {last}; {CURE}")


def all_checks(device: str) -> Iterator[Check]:
    """Yields all checks of the CPU and, where one is wanted and there, of a GPU."""
    from mriimpute.device import choose_device
    from mriimpute.doctor.imputation import imputation_checks, package_checks
    from mriimpute.doctor.numerics import numeric_checks
    from mriimpute.errors import MriImputeError

    yield from package_checks()
    try:
        chosen = choose_device(device)
    except MriImputeError as error:
        yield Check("device", "fail", note=f"{error}; {error.hint}")
        chosen = "cpu"
    for one in dict.fromkeys(("cpu", chosen)):
        yield from numeric_checks(one)
        try:
            yield from imputation_checks(one)
        except MriImputeError as error:
            yield Check(f"imputation, {one}", "fail", note=str(error))


def accelerators() -> dict[str, Any]:
    """Returns what torch says about itself and its devices, ready for JSON."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        "torch_cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "cpu_kernels": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "devices": [_gpu(index) for index in range(count)],
    }


def _gpu(index: int) -> dict[str, Any]:
    import torch

    properties = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    return {
        "name": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "memory_total_bytes": total,
        "memory_free_bytes": free,
    }


def _tell(there: Connection, device: str) -> None:
    """Sends everything to the parent; what runs in the child."""
    begin_worker()
    there.send(accelerators())
    _send(there, all_checks(device))
    there.send(END)


def _send(there: Connection, checks: Iterable[Check]) -> None:
    for check in checks:
        there.send(check)


def _next(here: Connection) -> Any:
    """Returns what the child said; None where it has died or fallen silent."""
    try:
        return here.recv() if here.poll(SECONDS) else None
    except EOFError:
        return None


def _end(code: int | None) -> str:
    if code is not None and code < 0:
        return f"the process was ended by {signal.Signals(-code).name}"
    return f"the process ended with status {code}"
