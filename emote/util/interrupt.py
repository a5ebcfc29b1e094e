"""Ctrl-C and SIGTERM: finish the step, save, and say how to go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """A signal stopped the run; what was done is saved. Entry points exit with 128 + signal_number."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.signal_number = signal_number


class StopRequest:
    """`with StopRequest() as stop:` - a signal raises Interrupted at once; after `defer()` it only sets
    `signal_number`, for the next end of a step. A second signal ends the process without saving."""

    NUMBERS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.signal_number = 0
        self._deferred = False
        self._previous: dict[int, Callable[..., Any] | int | None] = {}

    def __enter__(self) -> StopRequest:
        self._previous = {number: signal.getsignal(number) for number in self.NUMBERS}
        self._install()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def defer(self) -> None:
        self._deferred = True
        self._install()

    def at_once(self) -> None:
        """From now on raise again; raises here if a signal came meanwhile."""
        self._deferred = False
        self._install()
        if self.signal_number:
            raise Interrupted(self.signal_number)

    def _install(self) -> None:
        for number in self.NUMBERS:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number:
            os._exit(128 + number)
        self.signal_number = number
        if not self._deferred:
            raise Interrupted(number)
