"""Two processes must not write one run."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from filelock import FileLock, Timeout

from emote.runs.lease import NO_LOCKS, Held, Lease
from emote.util.console import echo
from emote.util.errors import ConfigError
from emote.util.files import write_text

LOOK_AGAIN_S = 1.0


class Busy(ConfigError):
    """Another process is at it: `who`, in words."""

    who = "another process"

    @classmethod
    def of(cls, run: Path, who: str) -> Busy:
        busy = cls(f"{run} is being worked on by {who}; wait for it, or stop it")
        busy.who = who
        return busy


@contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Hold a run's directory for the length of the block. Raises Busy, which names the process that holds it.

    The lock is the system's (flock), which Linux keeps across the machines of a file system as NFS has it; on a drive
    that has none it is a `Lease`. See docs/clusters.md.
    """
    lock = _lock(run)
    _acquire(lock, run)
    try:
        if not isinstance(lock, Lease):
            write_text(_note(run), f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        _note(run).unlink(missing_ok=True)
        lock.release()


def wait_for(run: Path) -> None:
    """Until no other process holds a run's directory."""
    lock, told = _lock(run), False
    while True:
        try:
            _acquire(lock, run)
        except Busy as busy:
            if not told:
                echo(f"waiting for {run.name}, which {busy.who} is working on")
            told = True
            time.sleep(LOOK_AGAIN_S)
        else:
            return lock.release()


def _acquire(lock: FileLock | Lease, run: Path) -> None:
    try:
        lock.acquire() if isinstance(lock, Lease) else lock.acquire(timeout=0)
    except Held as error:
        raise Busy.of(run, str(error)) from error
    except Timeout as error:
        raise Busy.of(run, _who(run)) from error


def _lock(run: Path) -> FileLock | Lease:
    run.parent.mkdir(parents=True, exist_ok=True)
    lock = run.with_name(f".{run.name}.lock")
    return FileLock(lock) if _has_locks(run.parent) else Lease(lock.with_suffix(".lease"))


def _has_locks(directory: Path) -> bool:
    """Whether the system's locks work there: mounted drives may have none."""
    try:
        import fcntl
    except ImportError:  # Windows, where filelock uses another call
        return True
    with TemporaryFile(dir=directory) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in NO_LOCKS:
                return False
            raise
    return True


def _note(run: Path) -> Path:
    """Beside the lock, since some versions of filelock empty a lock that they try."""
    return run.with_name(f".{run.name}.holder")


def _who(run: Path) -> str:
    try:
        return _note(run).read_text(encoding="utf-8")
    except OSError:
        return "another process"
