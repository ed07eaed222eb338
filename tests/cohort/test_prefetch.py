"""Tests for mriimpute.cohort.prefetch."""

import threading
import time

import pytest

from mriimpute.cohort.prefetch import AHEAD, prefetched


def test_steps_come_in_their_order_with_what_was_drawn_for_them() -> None:
    assert list(prefetched(lambda n: n * n, range(3, 9))) == [(n, n * n) for n in range(3, 9)]
    assert list(prefetched(lambda n: n, [])) == []


def test_draws_are_made_ahead_by_another_thread_but_not_far_ahead() -> None:
    begun: list[int] = []
    threads = set()

    def draw(step: int) -> int:
        begun.append(step)
        threads.add(threading.get_ident())
        return step

    steps = prefetched(draw, range(100))
    next(steps)
    limit = time.monotonic() + 10
    while len(begun) < 1 + AHEAD and time.monotonic() < limit:
        time.sleep(0.01)

    assert begun == list(range(1 + AHEAD))
    assert threading.get_ident() not in threads
    assert len(threads) == 1
    steps.close()


def test_one_draw_is_made_at_a_time() -> None:
    busy = threading.Lock()

    def draw(step: int) -> bool:
        alone = busy.acquire(blocking=False)
        time.sleep(0.001)
        busy.release()
        return alone

    assert all(alone for _, alone in prefetched(draw, range(20)))


def test_an_error_is_raised_at_its_own_step_and_ends_the_thread() -> None:
    def draw(step: int) -> int:
        if step == 5:
            raise ValueError("step 5 fails")
        return step

    seen: list[int] = []
    threads = threading.active_count()
    with pytest.raises(ValueError, match="step 5 fails"):
        seen.extend(step for step, _ in prefetched(draw, range(9)))

    assert seen == [0, 1, 2, 3, 4]
    assert threading.active_count() == threads


@pytest.mark.parametrize("error", [KeyboardInterrupt, None])
def test_who_stops_early_leaves_no_thread_behind(error: type[BaseException] | None) -> None:
    threads = threading.active_count()

    try:
        for step, _ in prefetched(lambda n: time.sleep(0.001), range(1000)):
            if step == 3 and error:
                raise error
            if step == 3:
                break
    except KeyboardInterrupt:
        pass

    assert threading.active_count() == threads
