"""Tests for mriimpute.cohort.entry."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mriimpute.cohort import entry
from mriimpute.cohort.entry import DamagedError, Mapped, forget_maps, read_entry, write_entry
from mriimpute.errors import TrainingError

FACTS = {"level": 0.1, "gaps": [3, 4], "lowest": -np.inf, "none": None}


def array(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.random(shape).astype(np.float16)


def test_what_is_read_is_what_was_written(rng: np.random.Generator, tmp_path: Path) -> None:
    x = array(rng, 3, 5, 7)
    x[0, 0] = np.nan
    written = write_entry(tmp_path / "a", FACTS, x)

    facts, mapped = read_entry(tmp_path / "a")

    assert facts == FACTS
    assert mapped == written
    assert (mapped.shape, len(mapped)) == ((3, 5, 7), 3)
    assert np.asarray(mapped).tobytes() == x.tobytes()
    assert np.asarray(mapped, np.float32).dtype == np.float32
    assert mapped[1, 2:].tobytes() == x[1, 2:].tobytes()
    assert mapped.offset % 64 == 0


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_bit_of_a_file_can_change_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, place: float, bit: int
) -> None:
    path = tmp_path_factory.mktemp("entry") / "a"
    write_entry(path, FACTS, np.ones((2, 3), np.float16))
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)

    with pytest.raises(DamagedError):
        read_entry(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_file_cut_short_is_damaged(tmp_path: Path, share: float) -> None:
    write_entry(tmp_path / "a", FACTS, np.ones((20, 30), np.float16))
    content = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(content[: int(share * len(content))])

    with pytest.raises(DamagedError):
        read_entry(tmp_path / "a")


def test_a_writer_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = write_entry(tmp_path / "a", FACTS, np.ones(3, np.float16))

    def killed(path: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_entry(tmp_path / "a", FACTS, np.zeros(3, np.float16))

    assert read_entry(tmp_path / "a")[1] == before


def test_no_more_files_are_open_than_a_few(
    rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_maps()
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("this system does not tell which files are open")
    entries = [write_entry(tmp_path / str(n), {}, array(rng, 4)) for n in range(entry.MAPS + 20)]
    before = len(list(descriptors.iterdir()))

    assert all(mapped[:].shape == (4,) for mapped in entries)

    assert len(list(descriptors.iterdir())) - before <= entry.MAPS
    forget_maps()
    assert len(list(descriptors.iterdir())) <= before


@pytest.mark.parametrize("how", ["removed", "written anew"])
def test_an_array_that_changed_since_it_was_read_is_never_used(tmp_path: Path, how: str) -> None:
    mapped = write_entry(tmp_path / "a", {}, np.ones(3, np.float16))
    if how == "removed":
        (tmp_path / "a").unlink()
    else:
        write_entry(tmp_path / "a", {}, np.zeros(3, np.float16))

    with pytest.raises(TrainingError, match="cannot be used any more"):
        mapped[:]


def test_an_open_array_stays_what_it_was(tmp_path: Path) -> None:
    mapped = write_entry(tmp_path / "a", {}, np.ones(3, np.float16))
    assert mapped[:].tolist() == [1, 1, 1]

    write_entry(tmp_path / "a", {}, np.zeros(3, np.float16))

    assert mapped[:].tolist() == [1, 1, 1]


def test_entries_of_one_content_are_equal_whoever_wrote_them(tmp_path: Path) -> None:
    for name in "ab":
        write_entry(tmp_path / name, {"x": 1, "y": 2}, np.ones(3, np.float16))

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert isinstance(read_entry(tmp_path / "a")[1], Mapped)
