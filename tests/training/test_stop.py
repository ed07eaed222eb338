"""Tests for mriimpute.training.stop; see `test_settings` for those of a process that is alone."""

import signal

import pytest

from mriimpute.training.stop import Stop


@pytest.mark.usefixtures("interruptible")
def test_interrupt_that_torchrun_passes_on_is_the_same_wish() -> None:
    with Stop(None, launched=True) as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

        assert stop.wanted
        assert stop.interrupted


def test_ctrl_c_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Stop(None) as stop:
            signal.raise_signal(signal.SIGINT)
            ignored = not stop.wanted
            signal.raise_signal(signal.SIGTERM)
            heard = stop.wanted
    finally:
        signal.signal(signal.SIGINT, before)

    assert (ignored, heard) == (True, True)
