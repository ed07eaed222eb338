"""Which device computes, and how much at once: the choice is spoken, never silent."""

import logging
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mriimpute.errors import DeviceError

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = [
    "TILE",
    "choose_device",
    "cuda_of_torch",
    "driver_version",
    "is_device",
    "on_device",
]

TILE = 128
"""Edge of what is worked on at once by default, in voxels: bounds memory, changes no result."""

log = logging.getLogger(__name__)


def is_device(name: str) -> bool:
    """Tells whether `name` is auto, cpu, cuda or cuda:N.

    Example:
        >>> is_device("cuda:1"), is_device("gpu")
        (True, False)
    """
    return re.fullmatch(r"auto|cpu|cuda(:\d+)?", name) is not None


def cuda_of_torch() -> str | None:
    """Returns the CUDA that torch was built with, None for none, without importing torch."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = _text(Path(spec.origin).with_name("version.py"))
    match = re.search(r"^cuda\b[^=\n]*=\s*['\"]([^'\"]+)", text, flags=re.MULTILINE)
    return match[1] if match else None


def driver_version(file: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    """Returns the version of NVIDIA's driver; None where there is none, or it does not tell.

    Args:
        file: In which the driver tells.
    """
    match = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", _text(file))
    return match[1] if match else None


def choose_device(name: str) -> str:
    """Returns the torch device that `name` stands for: "cpu" or "cuda:N".

    "auto" takes the first CUDA device, or the CPU where there is none, and logs which and why.

    Raises:
        DeviceError: If a CUDA device was asked for by name and is not there.
    """
    import torch

    if not is_device(name):
        raise ValueError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}")
    if name == "cpu":
        return name

    present = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto" and not present:
        log.info("device: cpu (%s)", _reason())
        return "cpu"

    _, _, number = name.partition(":")
    index = int(number or 0)
    if index >= present:
        known = ", ".join(f"cuda:{n}" for n in range(present)) or _reason()
        raise DeviceError(
            f"device {name!r} is not there: {known}",
            hint="use --device cpu or auto; in a container pass --gpus all (Apptainer: --nv)",
        )

    if not number:  # chosen here, and not by whoever named it
        memory_gib = torch.cuda.get_device_properties(index).total_memory / 2**30
        log.info("device: cuda:%d (%s, %.0f GiB)", index, _name(index), memory_gib)
    return f"cuda:{index}"


def on_device(
    array: "np.ndarray[Any, np.dtype[Any]]", device: "torch.device | str"
) -> "torch.Tensor":
    """Returns an array as a tensor on a device, which shares its memory where that can be."""
    import torch

    # Torch knows no steps backwards, as in a flipped scan, and no memory that must not change.
    if min(array.strides, default=1) < 0 or not array.flags.writeable:
        array = array.copy(order="K")
    return torch.from_numpy(array).to(device)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _reason() -> str:
    import torch

    if torch.version.cuda is None:
        return "this build of torch has no CUDA"
    return "torch sees no CUDA device"


def _name(index: int) -> str:
    import torch

    return str(torch.cuda.get_device_name(index))
