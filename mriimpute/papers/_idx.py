"""The idx format of MNIST: a magic number, the sizes, then bytes.

References:
    LeCun, Cortes, Burges, The MNIST database of handwritten digits, "File formats".
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from mriimpute.errors import ConfigError

__all__ = ["read_idx"]

UNSIGNED_BYTE = 8


def read_idx(path: Path, *, axes: int) -> UInt8[np.ndarray, "..."]:
    """Returns the array in a gzipped idx file of unsigned bytes.

    Args:
        path: Ends in .gz.
        axes: How many the array must have.

    Raises:
        ConfigError: If the file is damaged or holds something else.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise _refused(path, f"cannot be unpacked ({error})") from error
    start = 4 + 4 * axes
    if len(content) < start or content[:4] != bytes([0, 0, UNSIGNED_BYTE, axes]):
        raise _refused(path, f"is no idx file of bytes along {axes} axes")

    sizes = struct.unpack(f">{axes}I", content[4:start])
    if 0 in sizes:
        raise _refused(path, "is empty")
    if len(content) - start != math.prod(sizes):
        raise _refused(path, f"should hold {math.prod(sizes)} bytes, has {len(content) - start}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)


def _refused(path: Path, problem: str) -> ConfigError:
    return ConfigError(f"{path} {problem}", hint="fetch the file again")
