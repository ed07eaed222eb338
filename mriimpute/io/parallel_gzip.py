"""Gzip with all cores.

The content is cut into blocks, which are deflated side by side and joined to one stream, as pigz
does it: each but the last ends with an empty block that fills its last byte. So every reader of
gzip reads it, and its bytes depend on the content alone, on no number of threads.

ISA-L deflates float32 images of a head 8 times as fast as zlib does, draws 25 times, and as small;
whole numbers come out up to a tenth larger.
Where it is not installed, zlib does it.

References:
    RFC 1951 (deflate), section 3.2.4; RFC 1952 (gzip), section 2.3.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

from mriimpute.workers import allowed_threads

__all__ = ["compress"]

BLOCK = 2**20
"""Bytes of a block: deflate looks back on 32 KiB, so little is lost at its start."""

ISAL_LEVEL = 2
"""The one above takes twice as long and gains nothing."""

HEADER = b"\x1f\x8b\x08\x00" + bytes(4) + b"\x00\xff"
"""Deflated, no name, no time, no system."""


def compress(content: bytes, level: int) -> bytes:
    """Returns the content of a gzip file.

    Args:
        content: Bytes of any number.
        level: 1 (fast) to 9 (small), as zlib counts.

    Example:
        >>> import gzip
        >>> gzip.decompress(compress(b"a" * 5, 3))
        b'aaaaa'
    """
    view = memoryview(content)
    library, largest = _library()
    scale = min(level, largest)

    def deflate(start: int) -> bytes:
        packer = library.compressobj(scale, zlib.DEFLATED, -zlib.MAX_WBITS)
        packed = packer.compress(view[start : start + BLOCK])
        is_last = start + BLOCK >= len(view)
        return packed + packer.flush(zlib.Z_FINISH if is_last else zlib.Z_SYNC_FLUSH)

    blocks = _in_parallel(deflate, range(0, max(len(view), 1), BLOCK))
    trailer = struct.pack("<LL", zlib.crc32(content), len(view) % 2**32)
    return b"".join([HEADER, *blocks, trailer])


def _library() -> tuple[ModuleType, int]:
    """Returns what deflates, and its level beyond which nothing gets smaller."""
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib, 9
    return isal_zlib, ISAL_LEVEL


def _in_parallel(work: Callable[[int], bytes], starts: Sequence[int]) -> list[bytes]:
    try:
        with ThreadPoolExecutor(allowed_threads()) as pool:  # zlib lets other threads run
            return list(pool.map(work, starts))
    except RuntimeError:  # no room for another thread: then one after the other
        return [work(start) for start in starts]
