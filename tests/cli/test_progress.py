"""Tests for mriimpute.cli.progress."""

import io
from collections.abc import Iterator
from itertools import count

from rich.console import Console

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


def drawn(bars: Bars) -> list[str]:
    """What bars look like on a terminal of 80 columns."""
    terminal = Console(width=80, file=io.StringIO(), force_terminal=True, color_system=None)
    with terminal.capture() as shown:
        terminal.print(bars.progress.get_renderable())
    return shown.get().splitlines()


def test_a_short_loop_says_nothing() -> None:
    assert lines_of(4, seconds=1) == []


def test_a_line_tells_share_and_time_left() -> None:
    first, *_, last = lines_of(10, seconds=6)

    assert first == "scans:  10% (1/10), 54 s left"
    assert last.startswith("scans: done (10/10) in ")


def test_a_run_of_many_hours_writes_few_lines() -> None:
    assert 200 < len(lines_of(100_000, seconds=1)) < 400


def test_in_the_first_hour_a_line_comes_every_ten_seconds() -> None:
    assert 355 < len(lines_of(3600, seconds=1)) < 365


def test_an_abandoned_loop_claims_nothing() -> None:
    written: list[str] = []
    clock = ticking(60)
    loop = Lines(write=written.append, clock=lambda: next(clock))(range(9), total=9, label="x")

    next(loop)
    next(loop)
    loop.close()

    assert len(written) == 1
    assert "done" not in written[0]


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Returns the time."""
        return self.now


def test_one_scan_tells_its_stage_and_one_time_left() -> None:
    written: list[str] = []
    clock = Clock()
    track = Lines(write=written.append, clock=clock)

    for _ in track("x", total=1, label="scans"):
        with track.inside("a.nii.gz") as progress:
            progress.plan("planes", 30.0)
            progress.plan("draws", 10.0)
            for _ in range(30):
                clock.now += 2
                progress.advance("planes", 1.0)

    assert written[0] == "a.nii.gz:   8%, planes, 1:14 min left"
    assert len(written) == 6
    assert written[-1].startswith("a.nii.gz:  70%, planes")


def test_a_batch_tells_scans_and_how_far_the_one_at_work_is() -> None:
    written: list[str] = []
    clock = Clock()
    track = Lines(write=written.append, clock=clock)

    for name in track("abcd", total=4, label="scans"):
        with track.inside(name) as progress:
            progress.plan("planes", 10.0)
            for _ in range(10):
                clock.now += 2
                progress.advance("planes", 1.0)

    assert written[0] == "scans:   0% (0/4), 1:14 min left; a:  30%, planes"
    assert "scans:  50% (2/4), 34 s left; c:  30%, planes" in written
    assert written[-1] == "scans: done (4/4) in 1:20 min"


def test_a_time_limit_that_comes_first_is_the_time_left() -> None:
    written: list[str] = []
    clock = Clock()
    loop = Lines(write=written.append, clock=clock)(
        range(1000), total=1000, label="training", seconds=100.0
    )

    for _ in loop:
        clock.now += 10
        if clock.now >= 100:
            break

    assert written[0] == "training:  10% (1/1000), 1:30 min left"
    assert written[-1] == "training:  90% (9/1000), 10 s left"


def test_the_way_suits_the_stream() -> None:
    assert choose_track(wanted=False, terminal=True) is silent
    assert isinstance(choose_track(wanted=True, terminal=False), Lines)
    assert isinstance(choose_track(wanted=True, terminal=True), Bars)
    for track in (silent, Lines(), Bars()):
        assert isinstance(track, Track)
        with track.inside("scan") as progress:
            progress.plan("planes", 1.0)
            progress.advance("planes", 1.0)


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


def test_bars_of_a_batch_fit_80_columns_whatever_names_are_called() -> None:
    bars = Bars()
    for _ in bars(range(200), total=200, label="scans"):
        with bars.inside("sub-0001_ses-baseline_acq-thick_run-01_T1w.nii.gz") as progress:
            progress.plan("calibration", 20_000.0)
            progress.advance("calibration", 1.0)
            seen = drawn(bars)
        break

    assert max(map(len, seen)) <= 80
    assert "0/200" in seen[0]
    assert "sub-0001_ses...run-01_T1w.nii.gz"[:12] in seen[1]
    assert "calibration   0%" in seen[1]


def test_the_bar_of_one_scan_replaces_that_of_all_scans() -> None:
    bars = Bars()
    for _ in bars("x", total=1, label="scans"):
        before = drawn(bars)
        with bars.inside("a.nii.gz"):
            inside = drawn(bars)

    assert [before[0].split()[0], inside[0].split()[0]] == ["scans", "a.nii.gz"]
    assert len(inside) == 1


def test_a_bar_ends_with_the_error_inside_its_loop() -> None:
    bars = Bars()
    loop = bars(range(3), total=3, label="x")
    next(loop)

    loop.close()

    assert not bars.progress.live.is_started
