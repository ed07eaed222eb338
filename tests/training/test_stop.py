"""Tests for mriimpute.training.stop; see `test_settings` for those of a process that is alone."""

import signal

from mriimpute.training.stop import Stop


def test_interrupt_that_torchrun_passes_on_is_the_same_wish() -> None:
    with Stop(None, launched=True) as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

        assert stop.wanted
        assert stop.interrupted
