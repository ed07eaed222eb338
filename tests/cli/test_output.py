"""Tests for mriimpute.cli.output: tables as a terminal shows them."""

import io
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from mriimpute.cli.output import show_table

Made = tuple[list[str], list[list[str]], int]

NAMES = st.text("abcdefg-_./ 界", max_size=60)
NUMBERS = st.floats(-1e6, 1e6).map("{:.2f}".format)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Returns True."""
        return True


@st.composite
def tables(draw: st.DrawFn) -> Made:
    """Headers, rows, and how many columns are text."""
    left, right = draw(st.integers(1, 3)), draw(st.integers(0, 7))
    headers = [f"h{n} {draw(st.text('abc, ', max_size=12))}" for n in range(left + right)]
    row = st.tuples(*[NAMES] * left, *[NUMBERS] * right).map(list)
    return headers, draw(st.lists(row, max_size=3)), left


def letters(texts: list[str]) -> Counter[str]:
    return Counter("".join("".join(text.split()) for text in texts))


def test_a_table_off_the_terminal_is_aligned_text(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["method", "dB"], [("linear", "31.2"), ("ridge [x]", "4")], title="PSNR")

    assert capsys.readouterr().out.splitlines() == [
        "PSNR",
        "method       dB",
        "linear     31.2",
        "ridge [x]     4",
    ]


def test_a_table_without_rows_or_head_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["", ""], [])

    assert capsys.readouterr().out == ""


def test_a_table_on_a_terminal_keeps_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)

    show_table(["file"], [("scan[1].nii",)])

    assert "scan[1].nii" in terminal.getvalue()


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=tables(), width=st.integers(30, 120))
def test_no_line_is_wider_than_the_terminal_and_no_letter_is_lost(
    made: Made, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    headers, rows, left = made
    monkeypatch.setenv("COLUMNS", str(width))

    show_table(headers, rows, left=left, title="What the table is about")

    lines = capsys.readouterr().out.splitlines()
    wanted = letters(["What the table is about", *headers, *(c for row in rows for c in row)])
    assert max(map(cell_len, lines)) <= width
    assert wanted <= letters(lines)


def test_columns_without_room_go_to_a_second_table_behind_the_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "30")

    show_table(["method", "first", "second"], [("cross-plane", "1" * 10, "2" * 10)])

    assert capsys.readouterr().out.splitlines() == [
        "method            first",
        "cross-plane  1111111111",
        "",
        "method           second",
        "cross-plane  2222222222",
    ]


def test_a_long_name_wraps_and_numbers_stay_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "32")

    show_table(["scan", "mean"], [("sub-001_ses-baseline_T1w.nii.gz", "23.93")])

    assert capsys.readouterr().out.splitlines() == [
        "scan                        mean",
        "sub-001_ses-baseline_T1w.  23.93",
        "nii.gz",
    ]
