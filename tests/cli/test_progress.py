"""Tests for mriimpute.cli.progress."""

from collections.abc import Iterator
from itertools import count

import pytest

from mriimpute.cli.progress import Bars, Lines, choose_track
from mriimpute.progress import Track, silent


def ticking(seconds: float) -> Iterator[float]:
    return (n * float(seconds) for n in count())


def lines_of(items: int, *, seconds: float) -> list[str]:
    written: list[str] = []
    clock = ticking(seconds)
    track = Lines(write=written.append, clock=lambda: next(clock))
    assert list(track(range(items), total=items, label="scans")) == list(range(items))
    return written


def test_a_short_loop_says_nothing() -> None:
    assert lines_of(4, seconds=1) == []


def test_a_line_tells_share_and_time_left() -> None:
    first, *_, last = lines_of(10, seconds=6)

    assert first == "scans:  10% (1/10), 54 s left"
    assert last.startswith("scans: done (10/10) in ")


def test_a_run_of_many_hours_writes_few_lines() -> None:
    assert 10 < len(lines_of(100_000, seconds=1)) < 70


def test_an_abandoned_loop_claims_nothing() -> None:
    written: list[str] = []
    clock = ticking(60)
    loop = Lines(write=written.append, clock=lambda: next(clock))(range(9), total=9, label="x")

    next(loop)
    next(loop)
    loop.close()

    assert len(written) == 1
    assert "done" not in written[0]


def test_the_way_suits_the_stream() -> None:
    assert choose_track(wanted=False, terminal=True) is silent
    assert isinstance(choose_track(wanted=True, terminal=False), Lines)
    assert isinstance(choose_track(wanted=True, terminal=True), Bars)
    for track in (silent, Lines(), Bars()):
        assert isinstance(track, Track)


def test_nested_bars_pass_everything_through_and_end() -> None:
    bars = Bars()

    seen = [
        (a, b)
        for a in bars(range(2), total=2, label="outer [1]")
        for b in bars("xy", total=2, label="inner")
    ]

    assert seen == [(0, "x"), (0, "y"), (1, "x"), (1, "y")]
    assert bars.running == 0
    assert not bars.progress.live.is_started


def test_a_bar_ends_with_the_error_inside_its_loop() -> None:
    bars = Bars()
    loop = bars(range(3), total=3, label="x")
    next(loop)

    loop.close()

    assert not bars.progress.live.is_started
