"""Seconds by phase."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Timer:
    """Started when it is made. `with timer.phase("train"):` adds to that phase."""

    PHASES = ("cache", "train", "sample")  # of every run

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._phases = dict.fromkeys(self.PHASES, 0.0)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._phases[name] = self._phases.get(name, 0.0) + time.perf_counter() - began

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each phase, and `total` since the start."""
        found = {**self._phases, "total": time.perf_counter() - self._began}
        return {name: round(value, 3) for name, value in found.items()}
