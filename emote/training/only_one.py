"""Two processes must not write one run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from emote.config import ConfigError


class Busy(ConfigError):
    """Another process is at it."""


@contextmanager
def only_one(run: Path) -> Iterator[None]:
    """Hold a run's directory for the length of the block. Raises Busy where another process holds it."""
    lock = run.with_name(f".{run.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout as error:
        raise Busy(f"{run} is being worked on by another process; wait for it, or stop it") from error
