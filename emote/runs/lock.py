"""Two processes must not write one run."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from emote.util.console import echo
from emote.util.errors import ConfigError
from emote.util.files import write_text

LOOK_AGAIN_S = 1.0


class Busy(ConfigError):
    """Another process is at it."""


@contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Hold a run's directory for the length of the block. Raises Busy, which names the process that holds it.

    The lock is the system's (flock), which Linux keeps across the machines of a file system as NFS has it; where there
    is none, filelock makes do with a file. See docs/clusters.md.
    """
    lock = _lock(run)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise Busy(f"{run} is being worked on by {_who(run)}; wait for it, or stop it") from error
    try:
        write_text(_note(run), f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        _note(run).unlink(missing_ok=True)
        lock.release()


def wait_for(run: Path) -> None:
    """Until no other process holds a run's directory."""
    lock = _lock(run)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        echo(f"waiting for {run.name}, which {_who(run)} is working on")
        lock.acquire(poll_interval=LOOK_AGAIN_S)
    lock.release()


def _lock(run: Path) -> FileLock:
    run.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(run.with_name(f".{run.name}.lock"))


def _note(run: Path) -> Path:
    """Beside the lock, since some versions of filelock empty a lock that they try."""
    return run.with_name(f".{run.name}.holder")


def _who(run: Path) -> str:
    try:
        return _note(run).read_text(encoding="utf-8")
    except OSError:
        return "another process"
