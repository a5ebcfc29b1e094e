from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from emote.util.interrupt import Interrupted, StopRequest

ROOT = Path(__file__).resolve().parent.parent.parent
BOTH = pytest.mark.parametrize("number", StopRequest.NUMBERS)


@BOTH
def test_a_signal_before_training_stops_at_once(number: int) -> None:
    with StopRequest() as stop, pytest.raises(Interrupted) as caught:
        signal.raise_signal(number)
    assert caught.value.signal_number == stop.signal_number == number
    assert str(caught.value) == f"stopped by {signal.Signals(number).name}"


def test_an_interruption_passes_where_only_exceptions_are_caught() -> None:
    assert issubclass(Interrupted, KeyboardInterrupt) and not issubclass(Interrupted, Exception)


@BOTH
def test_a_signal_during_training_waits_for_the_end_of_the_step(number: int) -> None:
    with StopRequest() as stop:
        stop.defer()
        signal.raise_signal(number)
        assert stop.signal_number == number
        with pytest.raises(Interrupted) as caught:
            stop.at_once()
    assert caught.value.signal_number == number


def test_without_a_signal_training_ends_as_it_does() -> None:
    with StopRequest() as stop:
        stop.defer()
        assert stop.signal_number == 0
        stop.at_once()
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)


def test_handlers_that_a_library_has_set_meanwhile_are_taken_back() -> None:
    with StopRequest() as stop:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stop.defer()
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal_number == signal.SIGTERM


def test_afterwards_the_signals_mean_what_they_meant_before() -> None:
    before = [signal.getsignal(number) for number in StopRequest.NUMBERS]
    with pytest.raises(ValueError), StopRequest() as stop:
        stop.defer()
        raise ValueError
    assert [signal.getsignal(number) for number in StopRequest.NUMBERS] == before


@BOTH
def test_a_second_signal_ends_the_process_without_saving(number: int) -> None:
    code = (
        "import signal; from emote.util.interrupt import StopRequest\n"
        "with StopRequest() as stop:\n"
        "    stop.defer()\n"
        f"    signal.raise_signal({int(number)})\n"
        "    print('finishing the step', flush=True)\n"
        f"    signal.raise_signal({int(number)})\n"
        "    print('saved', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.split("\n")) == (128 + number, ["finishing the step", ""])
