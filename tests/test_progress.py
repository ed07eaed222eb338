"""Tests for mriimpute.progress: how much of a piece of work is left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mriimpute.progress import SILENT, Gauge, Provisional

PACES = st.floats(0.1, 10.0)


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Returns the time."""
        return self.now


def gauge(clock: Clock) -> Gauge:
    return Gauge("reading", lambda gauge: None, clock)


@given(pace=PACES, planned=st.lists(st.integers(1, 20), min_size=1, max_size=4))
def test_at_one_pace_the_time_left_is_exact_from_the_first_step_on(
    pace: float, planned: list[int]
) -> None:
    clock = Clock()
    told = gauge(clock)
    for stage, work in enumerate(planned):
        told.plan(str(stage), float(work))

    for stage, work in enumerate(planned):
        told.advance(str(stage))
        for _ in range(work):
            clock.now += pace
            told.advance(str(stage), 1.0)

            assert told.left == pytest.approx(pace * sum(planned) - clock.now, abs=1e-9)
            assert told.share == pytest.approx(clock.now / pace / sum(planned))
    assert told.left == pytest.approx(0)


@given(first=PACES, second=PACES)
def test_a_stage_that_goes_at_another_pace_is_found_out(first: float, second: float) -> None:
    clock = Clock()
    told = gauge(clock)
    told.plan("planes", 50.0)
    told.plan("draws", 50.0)
    for stage, pace, steps in (("planes", first, 50), ("draws", second, 6)):
        for _ in range(steps):
            clock.now += pace
            told.advance(stage, 1.0)

    assert told.left == pytest.approx(44 * second)


def test_nothing_is_said_about_time_before_anything_is_done() -> None:
    clock = Clock()
    told = gauge(clock)
    told.advance("imputing")
    told.plan("draws", 10.0)
    clock.now = 5
    told.advance("draws")

    assert (told.left, told.share, told.stage) == (None, 0.0, "draws")


def test_what_a_method_without_plan_takes_does_not_count_as_draws() -> None:
    clock = Clock()
    told = gauge(clock)
    told.plan("draws", 10.0)
    told.advance("imputing")
    clock.now = 1000
    told.advance("draws")
    clock.now = 1001
    told.advance("draws", 1.0)

    assert told.left == pytest.approx(9)


def test_more_work_than_was_planned_is_no_more_than_all_of_it() -> None:
    told = gauge(Clock())
    told.plan("planes", 1.0)
    told.advance("planes", 1.0)
    told.advance("planes", 1.0)

    assert (told.share, told.left) == (1.0, 0.0)


def test_a_guess_holds_until_the_work_itself_is_announced() -> None:
    clock = Clock()
    told = gauge(clock)
    told.plan("companions", 10.0)
    ahead = Provisional(told, "imputing", 30.0)
    clock.now = 20
    told.advance("companions", 10.0)

    guessed = told.left
    ahead.plan("planes", 15.0)
    ahead.plan("fusion", 5.0)
    ahead.advance("planes")

    assert (guessed, told.left, told.stage) == (60.0, 40.0, "planes")


def test_a_progress_that_nobody_shows_takes_everything() -> None:
    SILENT.plan("planes", 1.0)
    SILENT.advance("planes", 1.0)
