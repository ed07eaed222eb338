"""Tests for mriimpute.files."""

import errno
import hashlib
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from mriimpute.errors import ConfigError, OutputError
from mriimpute.files import (
    atomic,
    is_occupied,
    located,
    read_json,
    read_tsv,
    refuse_existing,
    refuse_inside,
    replacing,
    sha256,
    writable_folder,
    write_json,
    write_tsv,
)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "result.nii.gz"
    path.write_text("old")

    with suppress(KeyboardInterrupt), atomic(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt

    assert path.read_text() == "old"
    assert names(tmp_path) == ["result.nii.gz"]


def test_the_file_is_not_there_before_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "below" / "result.nii.gz"

    with atomic(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.name.endswith("result.nii.gz")

    assert path.read_text() == "new"
    assert names(path.parent) == ["result.nii.gz"]


def test_a_file_where_a_folder_should_be_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(OutputError, match="cannot write") as failure, atomic(tmp_path / "file/x"):
        pass

    assert "-o" in failure.value.hint


def test_a_full_disk_asks_for_space(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No space left") as failure, atomic(tmp_path / "x"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert "free some space" in failure.value.hint
    assert names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_an_output_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(OutputError, match="Permission denied"), atomic(tmp_path / "x"):
        pass


def dead_process() -> int:
    """Returns the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def partial(path: Path, pid: int, *, age_seconds: float = 3600.0) -> Path:
    left = path.with_name(f".{pid}.partial.{path.name}")
    left.write_text("half")
    written = time.time() - age_seconds
    os.utime(left, (written, written))
    return left


def test_what_a_killed_process_left_is_removed_when_its_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a[1].nii.gz"
    partial(path, dead_process())

    with atomic(path) as temporary:
        temporary.write_text("new")

    assert names(tmp_path) == ["a[1].nii.gz"]


def test_two_processes_of_one_number_write_one_file_and_both_in_full(tmp_path: Path) -> None:
    path = tmp_path / "quality.tsv"  # in containers all have the number 1

    with atomic(path) as first:
        first.write_text("all of it")
        with atomic(path) as second:
            second.write_text("half")
            assert first.read_text() == "all of it"
            first_seen = first.name
        assert path.read_text() == "half"

    assert second.name != first_seen
    assert path.read_text() == "all of it"
    assert names(tmp_path) == ["quality.tsv"]


@pytest.mark.parametrize("token", ["", "0123abcd."], ids=["earlier version", "this one"])
def test_what_a_process_of_the_same_number_left_is_removed(tmp_path: Path, token: str) -> None:
    for left in (f".{os.getpid()}.{token}partial.a.nii", f".{os.getpid()}.{token}probe"):
        (tmp_path / left).write_text("half")
        assert not is_occupied(tmp_path)
        os.utime(tmp_path / left, (0, 0))

    writable_folder(tmp_path)
    with atomic(tmp_path / "a.nii") as temporary:
        temporary.write_text("new")

    assert names(tmp_path) == ["a.nii"]


def test_trying_a_folder_out_disturbs_nobody_who_does_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch = Path.touch
    tried: list[Path] = []

    def touched(probe: Path) -> None:
        touch(probe)
        tried.append(probe)
        if len(tried) == 1:
            writable_folder(tmp_path)  # of another process of the same number

    monkeypatch.setattr(Path, "touch", touched)

    writable_folder(tmp_path)

    assert len(tried) == 2
    assert names(tmp_path) == []


def test_what_may_be_someone_elses_work_stays(tmp_path: Path) -> None:
    path, dead = tmp_path / "a.nii.gz", dead_process()
    others = {
        partial(path, os.getppid()),  # runs
        partial(path, dead, age_seconds=-60),  # touched since: perhaps on another machine
        partial(tmp_path / "b.nii.gz", dead),  # of another file
        partial(tmp_path / "a.nii.gz.json", dead),
    }

    with atomic(path) as temporary:
        temporary.write_text("new")

    assert set(tmp_path.iterdir()) == {path, *others}


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A folder that is to be replaced."""
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "0001.dcm").write_text("old")
    return tmp_path / "series"


def replace(folder: Path, text: str = "new") -> None:
    with replacing(folder) as temporary:
        (temporary / "0001.dcm").write_text(text)


def test_a_folder_is_replaced_whole(series: Path) -> None:
    (series / "0002.dcm").touch()

    replace(series)

    assert names(series) == ["0001.dcm"]
    assert (series / "0001.dcm").read_text() == "new"
    assert names(series.parent) == ["series"]


def test_a_folder_that_cannot_be_replaced_is_put_back(
    series: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def broken(path: Path, target: Path) -> Path:
        if ".partial." in path.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", broken)

    with pytest.raises(OutputError, match="cannot write"):
        replace(series)

    assert (series / "0001.dcm").read_text() == "old"
    assert names(series.parent) == ["series"]


def test_two_processes_of_one_number_fill_two_folders(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as first, replacing(tmp_path / "a") as second:
        assert first != second


@pytest.mark.parametrize("killed", ["between", "behind"])
def test_a_kill_amid_replacing_a_folder_costs_no_series_and_leaves_nothing(
    series: Path, killed: str
) -> None:
    dead = dead_process()
    old = series.with_name(f".{dead}.0123abcd.old.series")
    for left in (old, series.with_name(f".{dead}.partial.series")):
        left.mkdir()
        os.utime(left, (0, 0))
    if killed == "between":  # the old folder has no other name
        old.rmdir()
        series.rename(old)
        os.utime(old, (0, 0))

    with suppress(KeyboardInterrupt), replacing(series):
        raise KeyboardInterrupt

    assert (series / "0001.dcm").read_text() == "old"
    assert names(series.parent) == ["series"]


def test_existing_results_are_refused_and_empty_folders_are_not(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "empty").mkdir()

    for free in ("empty", "absent"):
        refuse_existing(tmp_path / free, overwrite=False)
    for taken in ("full", "full/x"):
        refuse_existing(tmp_path / taken, overwrite=True)
        with pytest.raises(OutputError, match="exists"):
            refuse_existing(tmp_path / taken, overwrite=False)


def test_results_stay_out_of_a_folder_of_inputs_but_for_its_derivatives(tmp_path: Path) -> None:
    tree = tmp_path / "in"
    (tree / "derivatives").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tree)
    (tree / "scan.nii").touch()

    for free in (tmp_path / "in_out", tree / "derivatives" / "x"):
        refuse_inside(free, tree)
    refuse_inside(tree / "out", tree / "scan.nii")
    for taken in (tree, tree / "out", tmp_path / "link" / "out"):
        with pytest.raises(OutputError, match="which is input"):
            refuse_inside(taken, tree)


def test_json_is_strict_even_where_numbers_are_not_finite(tmp_path: Path) -> None:
    content = {"a": float("nan"), "b": [np.float64("inf"), 1.5], "c": {"d": (float("-inf"), None)}}

    write_json(tmp_path / "x.json", content)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    back = json.loads((tmp_path / "x.json").read_text(), parse_constant=refuse)
    assert back == {"a": None, "b": [None, 1.5], "c": {"d": [None, None]}}


def test_tsv_has_a_header_and_a_line_per_row(tmp_path: Path) -> None:
    write_tsv(tmp_path / "x.tsv", [{"a": 1, "b": "x y"}, {"a": 2, "b": ""}])

    assert (tmp_path / "x.tsv").read_text() == "a\tb\n1\tx y\n2\t\n"


def test_checksum_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")

    assert sha256(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()


def test_a_link_is_located_where_it_lies_not_where_it_points(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "store")

    assert located(tmp_path / "store" / ".." / "link") == tmp_path / "link"


def test_a_file_name_that_is_not_utf8_is_written_and_read_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"K\xf6pf.nii.gz")

    write_json(tmp_path / "a.json", {"file": name})
    write_tsv(tmp_path / "a.tsv", [{"file": name}])

    assert read_json(tmp_path / "a.json") == {"file": name}
    assert read_tsv(tmp_path / "a.tsv") == [{"file": name}]
    assert "K\\udcf6pf" in (tmp_path / "a.tsv").read_text(encoding="utf-8")  # it is UTF-8


@pytest.mark.parametrize(
    "content", [b"{", b"", b"[1]", b"\xff\xfe"], ids=["cut", "empty", "list", "no text"]
)
def test_a_damaged_record_is_named_and_not_a_bug(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)

    with pytest.raises(OutputError, match=r"a\.json is damaged"):
        read_json(tmp_path / "a.json")


def test_a_table_is_read_with_a_byte_order_mark_and_short_rows(tmp_path: Path) -> None:
    table = tmp_path / "a.tsv"
    table.write_text("id\tsplit\n1\ttrain\n2\n", encoding="utf-8-sig")

    assert read_tsv(table) == [{"id": "1", "split": "train"}, {"id": "2", "split": ""}]


def test_a_table_of_another_encoding_is_named_and_not_a_bug(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("id\tsplit\n", encoding="utf-16")

    with pytest.raises(ConfigError, match=r"a\.tsv is no table"):
        read_tsv(tmp_path / "a.tsv")


@pytest.mark.parametrize("count", [1, 226, 250])
def test_a_name_may_be_as_long_as_the_file_system_allows(count: int, tmp_path: Path) -> None:
    path = tmp_path / ("x" * (count - 1) + "\N{LATIN SMALL LETTER E WITH ACUTE}.gz")

    with atomic(path) as temporary:
        temporary.write_text("here")
        assert temporary.name.endswith(".gz")
        assert temporary.parent == tmp_path

    assert path.read_text() == "here"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_is_too_long_is_said_to_be_that(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 300)

    with pytest.raises(OutputError, match=r"(?i)name too long") as failure, atomic(path) as new:
        new.touch()

    assert "shorten the name" in failure.value.hint


def test_what_a_killed_process_left_of_a_long_name_is_removed(tmp_path: Path) -> None:
    path, dead = tmp_path / ("x" * 230 + ".nii"), 2**22 + 1
    with atomic(path) as temporary:
        left = temporary.with_name(temporary.name.replace(str(os.getpid()), str(dead)))
        left.touch()
        os.utime(left, (0, 0))
        temporary.write_text("first")
    with atomic(path) as temporary:
        temporary.write_text("second")

    assert not left.exists()
    assert path.read_text() == "second"
