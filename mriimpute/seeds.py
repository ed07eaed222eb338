"""Random streams that depend on what is drawn, never on what was drawn before.

Torch is imported inside the functions that need it: `mriimpute --help` must not wait for it.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["fixed", "numpy_stream", "stream"]


def stream(
    seed: int, *purpose: str | int, device: "torch.device | str" = "cpu"
) -> "torch.Generator":
    """Returns the torch generator for one purpose of one run.

    Two calls with the same arguments give the same stream, so a resumed training step and a
    re-batched imputation draw the numbers that an uninterrupted run would have drawn.

    Args:
        seed: The seed of the run.
        purpose: A path that names the draw, such as `("train", step)`.
        device: Where the numbers are drawn.

    Example:
        >>> import torch
        >>> a, b = stream(0, "train", 7), stream(0, "train", 7)
        >>> bool((torch.rand(3, generator=a) == torch.rand(3, generator=b)).all())
        True
    """
    import torch

    return torch.Generator(device).manual_seed(_digest(seed, *purpose))


def numpy_stream(seed: int, *purpose: str | int) -> np.random.Generator:
    """Returns the NumPy generator for one purpose of one run.

    Example:
        >>> float(numpy_stream(0, "angle").random()) == float(numpy_stream(0, "angle").random())
        True
    """
    return np.random.default_rng(_digest(seed, *purpose))


@contextmanager
def fixed(seed: int, *purpose: str | int) -> Iterator[None]:
    """Seeds torch's global CPU generator inside the block, for code that accepts no other."""
    import torch

    # No devices: forking theirs would start CUDA on every GPU, for parameters drawn on the CPU.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_digest(seed, *purpose))
        yield


def _digest(seed: int, *purpose: str | int) -> int:
    # A separator that no name holds: ("a", "b") and ("a/b",) are two streams.
    name = "\x1f".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
