"""Gzip with all cores.

The content is cut into blocks, which are deflated side by side and joined to one stream, as pigz
does it: each but the last ends with an empty block that fills its last byte. So every reader of
gzip reads it, and its bytes depend on the content alone, on no number of threads.

References:
    RFC 1951 (deflate), section 3.2.4; RFC 1952 (gzip), section 2.3.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from mriimpute.workers import allowed_threads

__all__ = ["gzipped"]

BLOCK = 2**20
"""Bytes of a block: so much more than what deflate looks back on that little is lost."""

HEADER = b"\x1f\x8b\x08\x00" + bytes(4) + b"\x00\xff"
"""Deflated, no name, no time, no system."""


def gzipped(content: bytes, level: int) -> bytes:
    """Returns the content of a gzip file.

    Args:
        content: To pack.
        level: Of compression, 0 to 9.

    Example:
        >>> import gzip
        >>> gzip.decompress(gzipped(b"a" * 5, 3))
        b'aaaaa'
    """
    whole = memoryview(content)

    def deflated(start: int) -> bytes:
        packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        packed = packer.compress(whole[start : start + BLOCK])
        is_last = start + BLOCK >= len(whole)
        return packed + packer.flush(zlib.Z_FINISH if is_last else zlib.Z_SYNC_FLUSH)

    blocks = _side_by_side(deflated, range(0, max(len(whole), 1), BLOCK))
    end = struct.pack("<LL", zlib.crc32(content), len(whole) % 2**32)
    return b"".join([HEADER, *blocks, end])


def _side_by_side(work: Callable[[int], bytes], starts: Sequence[int]) -> list[bytes]:
    try:
        with ThreadPoolExecutor(allowed_threads()) as pool:  # zlib lets other threads run
            return list(pool.map(work, starts))
    except RuntimeError:  # no room for another thread: then one after the other
        return [work(start) for start in starts]
