"""A lock for drives that know no locks: a file that says who holds it, and whose holder keeps writing to it."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import tempfile
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from emote.runs.damage import Damaged, read_state
from emote.util.console import echo
from emote.util.units import readable_seconds

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}  # what such drives answer
BEAT_S, SILENT_S = 20.0, 180.0  # how often a holder writes, and after how long nobody is thought to hold it


class Held(Exception):
    """Somebody else holds it: `who`, in words."""


class Lease:
    """`acquire` and `release`; between the two a thread writes to the file every BEAT_S."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._mine = {
            "process": os.getpid(), "host": socket.gethostname(), "machine": _machine(),
            "started": psutil.Process().create_time(), "token": uuid.uuid4().hex,
        }  # fmt: skip
        self._ended = threading.Event()

    def acquire(self) -> None:
        """Take it, also from a holder that has ended or fallen silent, which is told. Raises Held."""
        for _ in range(10):
            try:
                descriptor = os.open(self.file, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                self._take_over()
                continue
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(self._mine, file)
            threading.Thread(target=self._beat, name="lease", daemon=True).start()
            return
        raise Held(_who(self._read()))

    def release(self) -> None:
        self._ended.set()
        if self._read().get("token") == self._mine["token"]:
            self.file.unlink(missing_ok=True)

    def _take_over(self) -> None:
        """Remove the file of a holder that is no more. Raises Held where there is one."""
        held = self._read()
        silent_s = self._silent_s()
        if not held and silent_s is None:
            return  # it was given back meanwhile
        if (reason := _ended(held, silent_s or 0.0)) is None:
            ago = f"heard from {readable_seconds(silent_s or 0.0)} ago, taken over after {readable_seconds(SILENT_S)}"
            raise Held(f"{_who(held)} ({ago} of silence)")
        aside = self.file.with_name(f"{self.file.name}.{self._mine['token']}")
        with suppress(FileNotFoundError):
            self.file.rename(aside)
            if self._read(aside).get("token") != held.get("token"):  # somebody was quicker: it is theirs
                aside.rename(self.file)
                raise Held(_who(self._read()))
            aside.unlink()
            echo(f"note: {self.file.name.removesuffix('.lease').strip('.')} is taken over from {_who(held)}: {reason}")

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                if not self._write_again():
                    if not self._ended.is_set():
                        echo(f"warning: {self.file} was taken over by {_who(self._read())}; stopping, as after Ctrl-C")
                        os.kill(os.getpid(), signal.SIGINT)
                    return
            except OSError:
                continue  # a drive that is away for a moment

    def _write_again(self) -> bool:
        """Return whether the file is still this holder's; never writes to one that took its place meanwhile."""
        mine = json.dumps(self._mine)
        with suppress(FileNotFoundError), self.file.open("r+", encoding="utf-8") as file:
            if file.read() == mine:
                file.seek(0)
                file.write(mine)
                return True
        return False

    def _read(self, file: Path | None = None) -> dict[str, Any]:
        """{} where there is no file, or none that can be read (it is being written)."""
        try:
            return read_state(file or self.file)
        except Damaged:
            return {}

    def _silent_s(self) -> float | None:
        """Since the holder wrote last, by the drive's own clock; None where there is no file."""
        try:
            with tempfile.NamedTemporaryFile(dir=self.file.parent, prefix=".clock") as now:
                return max(0.0, os.stat(now.name).st_mtime - self.file.stat().st_mtime)
        except FileNotFoundError:
            return None


def _ended(held: dict[str, Any], silent_s: float) -> str | None:
    """Why nobody holds it any more; None where somebody may."""
    if held.get("machine") == _machine():
        try:
            alive = psutil.Process(int(held["process"])).create_time() == held["started"]
        except (psutil.Error, KeyError, TypeError, ValueError):
            alive = False
        return None if alive else "it has ended"
    return f"it has been silent for {readable_seconds(silent_s)}" if silent_s > SILENT_S else None


def _who(held: dict[str, Any]) -> str:
    return f"process {held['process']} on {held['host']}" if {"process", "host"} <= held.keys() else "another process"


def _machine() -> str:
    """Where a process number means something: this boot of this machine, and this container of it."""
    found = [str(uuid.getnode())]
    with suppress(OSError):
        found = [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join([socket.gethostname(), *found])
