"""Tests for mriimpute.cohort.cache."""

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from mriimpute.cohort import Cache, PatchConfig, cache, draw_patches, read_sparse
from mriimpute.cohort.entry import Mapped
from mriimpute.cohort.slices import SliceScan, read_slices, resized
from mriimpute.errors import VolumeError
from mriimpute.methods.cross_plane.hidden_lines import LineConfig, draw_lines
from mriimpute.seeds import numpy_stream

Scan = Callable[..., Path]


@pytest.fixture
def scan(tmp_path: Path) -> Scan:
    """Writes a scan with slices three voxels apart, in a folder of its own."""

    def write(name: str = "doe", *, seed: int = 0, thickness: float = 3.0) -> Path:
        data = 500 * numpy_stream(seed, "scan").random((15, 16, 6))
        path = tmp_path / "scans" / f"{name}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        image = nib.Nifti1Image(data.astype(np.float32), np.diag([1, 1, thickness, 1]))
        nib.save(image, path)
        return path

    return write


def entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def never_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} is read again")

    for name in ("read_slices", "read_sparse", "checksum"):
        monkeypatch.setattr(cache, name, refuse)


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the scans that are read from now on."""
    seen: list[str] = []

    def noted(path: Path) -> SliceScan | None:
        seen.append(path.name)
        return read_slices(path)

    monkeypatch.setattr(cache, "read_slices", noted)
    return seen


def fields(found: Any) -> dict[str, Any]:
    """All that a scan is, comparable."""
    named = {name: getattr(found, name) for name in found.__dataclass_fields__}
    return {k: np.asarray(v).tobytes() if np.ndim(v) else v for k, v in named.items()}


@pytest.mark.parametrize("again", [False, True])
def test_a_scan_from_the_cache_is_the_scan_bit_for_bit(
    scan: Scan, tmp_path: Path, again: bool
) -> None:
    path, kept = scan(), Cache(tmp_path / "cache")
    if again:
        for scale in (1.0, 1.4):
            Cache(tmp_path / "cache").slices(path, scale)
        Cache(tmp_path / "cache").sparse(path)
    plain = read_slices(path)
    assert plain is not None

    found = [kept.slices(path), kept.slices(path, 1.4), kept.sparse(path)]

    expected = [plain, resized(plain, 1.4), read_sparse(path)]
    assert [fields(one) for one in found] == [fields(one) for one in expected]
    assert all(one and isinstance(one.slices, Mapped) for one in found)
    assert len(entries(tmp_path / "cache")) == 3


def test_what_is_drawn_does_not_depend_on_where_scans_lie(scan: Scan, tmp_path: Path) -> None:
    paths = [scan(name, seed=n) for n, name in enumerate("abc")]
    kept = Cache(tmp_path / "cache")
    config = LineConfig(gaps=(2, 3), gap_mm=(1.0, 9.0), edge=12)

    def drawn(scans: list[Any], sparse: list[Any]) -> list[bytes]:
        lines = draw_lines(scans, 9, config=config, generator=numpy_stream(0, "lines"))
        patches = draw_patches(
            sparse, (5, 6, 7), 9, config=PatchConfig(), generator=numpy_stream(0, "patches")
        )
        return [lines.context.tobytes(), lines.target.tobytes(), patches.y.tobytes()]

    memory = drawn([read_slices(p) for p in paths], [read_sparse(p) for p in paths])
    mapped = drawn([kept.slices(p) for p in paths], [kept.sparse(p) for p in paths])

    assert mapped == memory


def test_a_scan_is_read_once_whoever_asks(
    scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = scan()
    first = Cache(tmp_path / "cache")
    before = first.slices(path), first.slices(path, 1.4), first.sparse(path), first.checksum(path)

    never_read(monkeypatch)
    second = Cache(tmp_path / "cache")

    after = second.slices(path), second.slices(path, 1.4), second.sparse(path)
    assert list(map(fields, after)) == list(map(fields, before[:3]))
    assert second.checksum(path) == before[3]


@pytest.mark.parametrize("how", ["one bit", "cut short", "empty", "other text"])
def test_a_damaged_entry_is_built_again_and_told(
    scan: Scan, tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = scan()
    expected = fields(Cache(tmp_path / "cache").slices(path))
    (entry,) = entries(tmp_path / "cache")
    whole = entry.read_bytes()
    flipped = whole[:-9] + bytes([whole[-9] ^ 4]) + whole[-8:]
    damaged = {"one bit": flipped, "cut short": whole[:-2], "empty": b"", "other text": b"x" * 99}
    entry.unlink()  # what is mapped must not be cut short, that ends a process
    entry.write_bytes(damaged[how])

    found = Cache(tmp_path / "cache").slices(path)

    assert fields(found) == expected
    assert entry.read_bytes() == whole
    assert "is built again" in caplog.text


def test_an_entry_of_another_version_is_built_again(
    scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = scan()
    now = cache._maker()
    with monkeypatch.context() as past:
        past.setattr(cache, "_maker", lambda: {**now, "scipy": "0.1"})
        Cache(tmp_path / "cache").slices(path)
    seen = reads(monkeypatch)

    for _ in range(2):
        Cache(tmp_path / "cache").slices(path)

    assert seen == [path.name]


@pytest.mark.parametrize("scale", [1.0, 1.4])
def test_a_scan_that_changed_is_read_again_even_if_its_size_and_time_are_the_same(
    scan: Scan, tmp_path: Path, scale: float
) -> None:
    path = scan()
    stat = path.stat()
    before = fields(Cache(tmp_path / "cache").slices(path, scale))
    other = scan(seed=1).read_bytes()
    path.write_bytes(other[: stat.st_size].ljust(stat.st_size, b"\0"))  # gzip allows zeros
    scan(seed=1)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    after = fields(Cache(tmp_path / "cache").slices(path, scale))

    assert after != before
    assert after == fields(Cache(tmp_path / "other").slices(path, scale))


def test_a_scan_that_changes_while_it_is_preprocessed_is_read_again(
    scan: Scan, tmp_path: Path
) -> None:
    path = scan()
    kept = Cache(tmp_path / "cache")
    whole, checksum = kept.slices(path), kept.checksum(path)
    assert whole
    expected = fields(resized(whole, 1.4))
    scan(seed=1)

    during = fields(kept.slices(path, 1.4))
    after = fields(Cache(tmp_path / "cache").slices(path, 1.4))

    assert during == expected  # of one piece with what was read before
    assert kept.checksum(path) == checksum
    assert after == fields(Cache(tmp_path / "other").slices(path, 1.4)) != during


def test_a_scan_that_was_merely_touched_is_not_read_again(
    scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = scan()
    Cache(tmp_path / "cache").slices(path)
    seen = reads(monkeypatch)

    path.touch()
    Cache(tmp_path / "cache").slices(path)

    assert seen == []


def test_an_observed_image_that_appears_or_changes_is_noticed(scan: Scan, tmp_path: Path) -> None:
    path, found = scan(), []
    mark = path.with_name("doe_desc-observed.nii.gz")
    for missing in (None, 2, 3):
        if missing:
            observed = np.ones((15, 16, 6), np.uint8)
            observed[4, 4, missing] = 0
            nib.save(nib.Nifti1Image(observed, np.diag([1, 1, 3.0, 1])), mark)
        kept = Cache(tmp_path / "cache").sparse(path)
        found.append(np.argwhere(np.isnan(np.asarray(kept.slices))).tolist())

    assert found == [[], [[4, 4, 2]], [[4, 4, 3]]]


def test_what_was_never_acquired_does_not_enter(scan: Scan, tmp_path: Path) -> None:
    path, found = scan(), []
    observed = np.ones((15, 16, 6), np.uint8)
    observed[:, :, 2] = 0
    observed[3, 4, 5] = 0
    affine = np.diag([1, 1, 3.0, 1])
    nib.save(nib.Nifti1Image(observed, affine), path.with_name("doe_desc-observed.nii.gz"))
    data = nib.load(path).get_fdata(dtype=np.float32)
    for value in (0.0, 7e8, np.nan):
        nib.save(nib.Nifti1Image(np.where(observed, data, value), affine), path)
        kept = Cache(tmp_path / "cache")
        found.append((fields(kept.slices(path)), fields(kept.sparse(path))))

    assert found[0] == found[1] == found[2]


def test_a_build_that_was_killed_goes_on(
    scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [scan(name, seed=n) for n, name in enumerate("abcd")]
    seen = reads(monkeypatch)
    replace = Path.replace

    def killed(path: Path, target: Path) -> Path:
        if len(seen) == 3:
            raise KeyboardInterrupt
        return replace(path, target)

    def build() -> None:
        kept = Cache(tmp_path / "cache")
        for path in paths:
            kept.slices(path)

    with monkeypatch.context() as killing:
        killing.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            build()
    build()

    assert seen == [f"{name}.nii.gz" for name in "abccd"]
    assert len(entries(tmp_path / "cache")) == 4


BUILD = """
import sys
from pathlib import Path
from mriimpute.cohort.cache import Cache
kept = Cache(Path(sys.argv[1]))
for path in sys.argv[2:]:
    scan = kept.slices(Path(path))
    print(scan.slices[:].tobytes().hex())
"""


def test_processes_that_build_at_once_see_the_same(scan: Scan, tmp_path: Path) -> None:
    paths = [scan(name, seed=n) for n, name in enumerate("abcdef")]
    words = [sys.executable, "-c", BUILD, str(tmp_path / "cache"), *map(str, paths)]

    pipe = {"stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(words, **pipe) for _ in range(2)]  # type: ignore[call-overload] # noqa: S603
    told = [worker.communicate(timeout=120)[0].split() for worker in workers]

    expected = [np.asarray(one.slices).tobytes().hex() for p in paths if (one := read_slices(p))]
    assert told == [expected, expected]
    assert len(entries(tmp_path / "cache")) == len(paths)


def test_an_entry_that_another_process_wrote_meanwhile_does_no_harm(
    scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, others = scan(), []

    def slow(path: Path) -> SliceScan | None:
        monkeypatch.setattr(cache, "read_slices", read_slices)
        others.append(Cache(tmp_path / "cache").slices(path))
        return read_slices(path)

    monkeypatch.setattr(cache, "read_slices", slow)
    found = Cache(tmp_path / "cache").slices(path)

    assert fields(found) == fields(others[0])
    assert len(entries(tmp_path / "cache")) == 1


def test_scans_without_slices_are_known_as_such_and_broken_ones_stay_errors(
    scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = scan(thickness=1.0)
    holes = np.ones((15, 16, 6), np.uint8)
    holes[::2, ::3, ::2] = holes[1::2, 1::3, 1::2] = 0
    nib.save(nib.Nifti1Image(holes, np.eye(4)), path.with_name("doe_desc-observed.nii.gz"))
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")

    assert Cache(tmp_path / "cache").slices(path) is None
    for _ in range(2):
        with pytest.raises(VolumeError, match="broken"):
            Cache(tmp_path / "cache").slices(tmp_path / "broken.nii.gz")
    never_read(monkeypatch)

    assert Cache(tmp_path / "cache").slices(path) is None
    assert Cache(tmp_path / "cache").slices(path, 1.4) is None


def test_no_name_is_in_the_cache(scan: Scan, tmp_path: Path) -> None:
    kept = Cache(tmp_path / "cache")
    kept.slices(scan())
    kept.sparse(scan())

    for entry in entries(tmp_path / "cache"):
        assert b"doe" not in entry.read_bytes()
        assert "doe" not in entry.name


def test_a_cohort_takes_little_memory(scan: Scan, tmp_path: Path) -> None:
    paths = [scan(f"sub-{n:02d}", seed=n) for n in range(24)]
    for path in paths:
        Cache(tmp_path / "cache").slices(path)

    kept = Cache(tmp_path / "cache")
    kept.slices(paths[0])  # libraries are loaded now
    tracemalloc.start()
    try:
        scans = [kept.slices(path) for path in paths]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(scans) == 24
    assert held / 24 < 3500  # bytes; the smallest of scans has 20 times as many


def test_only_entries_are_removed(scan: Scan, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    for _ in range(2):
        kept = Cache(folder)
        kept.slices(scan())
        kept.remove()
        kept.remove()
        assert not folder.exists()

    kept.slices(scan())
    (folder / ".99999999.partial.0123.slices").write_text("what a killed process left")
    (folder / "mine.txt").write_text("mine")
    kept.remove()

    assert [path.name for path in entries(folder)] == ["mine.txt"]
