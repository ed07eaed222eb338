"""Tests for mriimpute.io.parallel_gzip."""

import gzip
import zlib

import numpy as np
import pytest

from mriimpute.io import parallel_gzip
from mriimpute.io.parallel_gzip import BLOCK, compress


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
@pytest.mark.parametrize("level", [0, 3])
def test_it_comes_back(size: int, level: int, rng: np.random.Generator) -> None:
    content = rng.integers(0, 9, size, np.uint8).tobytes()

    packed = compress(content, level)

    assert gzip.decompress(packed) == content
    one = zlib.decompressobj(wbits=31)  # readers that know a single member
    assert one.decompress(packed) == content
    assert one.eof
    assert not one.unused_data


def test_the_number_of_threads_changes_no_byte(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = rng.standard_normal(BLOCK // 2).astype(np.float32).tobytes()
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(parallel_gzip, "allowed_threads", lambda threads=threads: threads)
        found.append(compress(content, 3))

    assert found[0] == found[1] == found[2]


def test_blocks_cost_little(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    content = np.cumsum(rng.integers(-2, 3, BLOCK)).astype(np.float32).tobytes()
    packed = compress(content, 3)
    monkeypatch.setattr(parallel_gzip, "BLOCK", len(content))

    assert len(packed) < 1.01 * len(compress(content, 3))


def test_a_damaged_file_is_noticed(rng: np.random.Generator) -> None:
    packed = bytearray(compress(rng.integers(0, 9, 2 * BLOCK, np.uint8).tobytes(), 3))
    packed[-6] ^= 1  # of the checksum

    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(bytes(packed))


def test_without_room_for_a_thread_blocks_are_packed_one_by_one(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = rng.integers(0, 9, 3 * BLOCK, np.uint8).tobytes()
    packed = compress(content, 3)

    def no_room(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", no_room)

    assert compress(content, 3) == packed
