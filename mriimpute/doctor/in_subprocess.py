"""The self-test, in a process of its own.

A kernel that a CPU or a driver does not support ends the process ("illegal instruction"): then
the parent is there to say so, and which check it was. No pool of `mriimpute.workers` does that: it
hands over a result when all is done, and does not say how a process ended.
"""

import multiprocessing
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from mriimpute.doctor.check import Check
from mriimpute.workers import begin_worker

__all__ = ["accelerators", "all_checks", "self_test"]

SILENCE_SECONDS = 300.0
"""After so long without a message the self-test is given up."""

EXIT_SECONDS = 10.0
"""For the process to end when it has sent everything."""

START, END = "start of the self-test", "end"

HINTS = {
    "SIGILL": "set ONEDNN_MAX_CPU_ISA=AVX2 and try again; then set it for mriimpute, too",
    "SIGKILL": "most likely memory ran out: close other programs",
}
"""What to do, by how the process ended."""

HINT = "report it, with what was printed"
"""Where nothing better is known."""


def self_test(device: str) -> Iterator[Check | dict[str, Any]]:
    """Yields facts about torch and its devices, then one check after the other.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N". The CPU is tested in any case.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_all, args=(sender, device), daemon=True)
    process.start()
    sender.close()
    last, is_silent = START, False
    try:
        while (message := _received(receiver)) is not None:
            if message == END:
                return
            if isinstance(message, Check):
                last = message.name
            yield message
    finally:
        receiver.close()
        process.join(EXIT_SECONDS)
        is_silent = process.is_alive()
        if process.is_alive():
            process.kill()
            process.join()
    yield Check("self-test", "fail", note=_ending(process.exitcode, last, is_silent=is_silent))


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
    for tested in dict.fromkeys(("cpu", chosen)):
        for name, checks in (("numbers", numeric_checks), ("imputation", imputation_checks)):
            try:
                yield from checks(tested)
            except Exception as error:  # whatever it is, it is no fault of the checks before it
                yield Check(f"{name}, {tested}", "fail", note=_problem(error))


def _problem(error: Exception) -> str:
    """Returns why checks ended, and what to do about it."""
    import torch

    from mriimpute.errors import MriImputeError
    from mriimpute.imputation.anonymous import without_folders
    from mriimpute.memory import is_shortage

    if isinstance(error, torch.OutOfMemoryError):
        return "the GPU is out of memory; close other programs on it"
    if is_shortage(error):
        return "out of memory; close other programs"
    if isinstance(error, MriImputeError):
        return without_folders(f"{error}; {error.hint}", [])
    return without_folders(f"{type(error).__name__}: {' '.join(str(error).split())}", [])


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


def _send_all(sender: Connection, device: str) -> None:
    """Sends everything to the parent; what runs in the child."""
    begin_worker()
    sender.send(accelerators())
    for check in all_checks(device):
        sender.send(check)
    sender.send(END)


def _received(receiver: Connection) -> Any:
    """Returns the next message of the child; None where it has died or fallen silent."""
    try:
        return receiver.recv() if receiver.poll(SILENCE_SECONDS) else None
    except EOFError:
        return None


def _ending(code: int | None, last: str, *, is_silent: bool) -> str:
    """Returns how the process ended, and what to do about it.

    Args:
        code: Of its exit.
        last: The last check that it told of.
        is_silent: It went on without a word, and was ended here.
    """
    if is_silent:
        return f"no word for {SILENCE_SECONDS:.0f} s after: {last}; {HINT}"
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"the process was ended by {name} after: {last}; {HINTS.get(name, HINT)}"
    return f"the process ended with status {code} after: {last}; {HINT}"
