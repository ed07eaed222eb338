"""Tests for mriimpute.stopwatch."""

from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mriimpute.stopwatch import listening, stage

Tree = list["Tree"]

TREES = st.recursive(st.just([]), lambda inner: st.lists(inner, max_size=3), max_leaves=8)


def ticks() -> Iterator[float]:
    """A clock that is read: one second later each time."""
    return map(float, count())


def test_nobody_listens_and_nothing_is_made() -> None:
    assert stage("network") is stage("write")


def test_a_stage_inside_another_one_is_taken_out_of_it() -> None:
    clock = iter([0.0, 10.0, 13.0, 20.0])

    with listening(clock=lambda: next(clock)) as stages, stage("write"), stage("gzip"):
        pass

    assert stages.seconds == {"write": 17.0, "gzip": 3.0}


@given(tree=TREES)
def test_stages_add_up_to_the_time_of_the_outermost_ones(tree: Tree) -> None:
    clock, read = ticks(), []

    def look() -> float:
        read.append(next(clock))
        return read[-1]

    def walk(branches: Tree, depth: int) -> None:
        for number, branch in enumerate(branches):
            with stage(f"{depth} {number}"):
                walk(branch, depth + 1)

    with listening(clock=look) as stages, stage("root"):
        walk(tree, 0)

    assert sum(stages.seconds.values()) == pytest.approx(read[-1] - read[0])


def test_calls_of_one_name_are_added_up() -> None:
    clock = ticks()

    with listening(clock=lambda: next(clock)) as stages:
        for _ in range(3):
            with stage("network"):
                pass

    assert (stages.seconds, stages.calls) == ({"network": 3.0}, {"network": 3})


def test_a_failure_inside_a_stage_is_booked_and_passed_on() -> None:
    clock = ticks()
    with listening(clock=lambda: next(clock)) as stages:
        with pytest.raises(KeyError), stage("read"):
            raise KeyError
        with stage("write"):
            pass

    assert stages.seconds == {"read": 1.0, "write": 1.0}


def test_the_device_has_settled_before_the_clock_is_read() -> None:
    said: list[str] = []

    def clock() -> float:
        said.append("clock")
        return 0.0

    with listening(lambda: said.append("settled"), clock), stage("network"):
        pass

    assert said == ["settled", "clock"] * 2


def test_a_listener_inside_another_one_hears_alone() -> None:
    with listening() as outer:
        with listening() as inner, stage("network"):
            pass
        with stage("write"):
            pass

    assert (set(outer.seconds), set(inner.seconds)) == ({"write"}, {"network"})
    assert stage("network") is stage("write")
