"""Random streams that depend on what is drawn, never on what was drawn before.

Torch is imported inside the functions that need it: `mriimpute --help` must not wait for it.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["fixed", "normals", "numpy_stream", "stream"]

GOLDEN = 0x9E3779B97F4A7C15
MIXING = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
LAST = 31
"""Constants of SplitMix64."""

LEVELS = 2**16
"""Different numbers that `normals` gives; four of them are made of 64 bits."""


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


def normals(
    count: int, seed: int, *purpose: str | int, device: "torch.device | str" = "cpu"
) -> "torch.Tensor":
    """Returns standard normal numbers that are the same, to the bit, on every device.

    Number n depends on the purpose and on n alone: a counter is mixed as in SplitMix64, and each
    16 bits choose one of `LEVELS` equally likely quantiles, of which the largest is 4.3. That is
    Gaussian enough where many of them are added up.

    References:
        Steele, Lea & Flood, Fast Splittable Pseudorandom Number Generators, 2014, Fig. 16 and 17.

    Args:
        count: How many.
        seed: The seed of the run.
        purpose: A path that names the draw.
        device: Where the numbers are made.

    Example:
        >>> normals(3, 0, "draw", 1).equal(normals(5, 0, "draw", 1)[:3])
        True
    """
    import torch

    z = torch.arange(1, -(-count // 4) + 1, device=device).mul_(_signed(GOLDEN))
    z += _signed(_digest(seed, *purpose))
    for bits, factor in MIXING:
        z ^= (z >> bits) & (2 ** (64 - bits) - 1)  # without the mask copies of the sign come in
        z *= _signed(factor)
    z ^= (z >> LAST) & (2 ** (64 - LAST) - 1)
    return _quantiles(device).index_select(0, z.view(torch.int16)[:count].int() + LEVELS // 2)


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
    written = name.encode(errors="surrogateescape")  # a file name need not be UTF-8
    return int.from_bytes(hashlib.sha256(written).digest()[:8], "big")


@cache
def _quantiles(device: "torch.device | str") -> "torch.Tensor":
    """Returns `LEVELS` quantiles of unit variance. Made on the CPU: another device may round."""
    import torch

    middles = (torch.arange(LEVELS, dtype=torch.float64) + 0.5) / LEVELS
    quantiles = torch.special.ndtri(middles)
    return (quantiles / quantiles.square().mean().sqrt()).float().to(device)


def _signed(number: int) -> int:
    """Returns the 64 bits of a number as torch holds them, which has no unsigned arithmetic."""
    return number - 2**64 if number >= 2**63 else number
