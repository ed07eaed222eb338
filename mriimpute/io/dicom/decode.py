"""Decompressing JPEG images in a process of its own: decoders in C++ crash on damaged data.

This file is that process, too. It is started by its path, so it imports nothing of the package.
What goes in are DICOM files, what comes out NumPy's own format; each with its length before it.
"""

import io
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.utils import pixel_array

__all__ = ["decode_frames"]

LENGTH_BYTES = 8
"""Bytes that a length is written with."""

BASE_TIMEOUT_S, BYTES_PER_S = 60, 1 << 20
"""Time for a decoder that works: decoders manage tens of megabytes a second."""


def decode_frames(files: Sequence[bytes]) -> list[NDArray[np.integer] | None]:
    """Returns the frames of each DICOM file: frames, rows, columns. None: it cannot be decoded.

    A decoder that crashes, or takes forever, takes all of them with it.
    """
    content = b"".join(_packed(file) for file in files)
    try:
        process = subprocess.run(  # noqa: S603 - this Python, this file
            [sys.executable, "-P", __file__],
            input=content,
            capture_output=True,
            check=True,
            timeout=BASE_TIMEOUT_S + len(content) / BYTES_PER_S,
        )
        images = [_array(reply) for reply in _unpacked(io.BytesIO(process.stdout))]
    except (subprocess.SubprocessError, ValueError):
        images = []
    return images if len(images) == len(files) else [None] * len(files)


def _packed(content: bytes) -> bytes:
    return len(content).to_bytes(LENGTH_BYTES, "big") + content


def _unpacked(stream: BinaryIO | io.BytesIO) -> Iterator[bytes]:
    while length := stream.read(LENGTH_BYTES):
        yield stream.read(int.from_bytes(length, "big"))


def _array(reply: bytes) -> NDArray[np.integer] | None:
    return np.load(io.BytesIO(reply), allow_pickle=False) if reply else None


def _decoded(file: bytes) -> bytes:
    try:
        image = pydicom.dcmread(io.BytesIO(file))
        frames = pixel_array(image, raw=True)
        buffer = io.BytesIO()
        np.save(buffer, frames[None] if frames.ndim == 2 else frames, allow_pickle=False)
        return buffer.getvalue()
    except Exception:
        return b""


def _serve() -> None:
    for file in _unpacked(sys.stdin.buffer):
        sys.stdout.buffer.write(_packed(_decoded(file)))


if __name__ == "__main__":
    _serve()
