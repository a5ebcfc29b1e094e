from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emote.runs.lock import Busy, run_lock, wait_for

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys
from pathlib import Path
from emote.runs.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "smoke-0123456789ab"


@pytest.fixture
def holder(run: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, which holds the run until its input ends."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(run)], cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_who_holds_a_run_is_named_and_the_run_is_left_alone(run: Path, holder: subprocess.Popen[str]) -> None:
    who = rf"{run} is being worked on by process {holder.pid} on {os.uname().nodename}; wait for it, or stop it"
    for _ in range(2):  # trying changes nothing
        with pytest.raises(Busy, match=who), run_lock(run):
            pass
    assert not run.exists()


def test_a_process_that_is_killed_holds_nothing(run: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with run_lock(run):
        assert f"process {os.getpid()} on" in run.with_name(f".{run.name}.holder").read_text()


def test_waiting_ends_when_the_other_process_does(
    run: Path, holder: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    threading.Timer(0.3, holder.communicate).start()
    wait_for(run)
    assert capsys.readouterr().out.startswith(f"waiting for {run.name}, which process {holder.pid} on")
    wait_for(run)
    assert capsys.readouterr().out == ""


def test_nothing_but_the_lock_is_left(run: Path) -> None:
    with pytest.raises(RuntimeError), run_lock(run):
        raise RuntimeError
    assert [path.name for path in run.parent.iterdir()] == [f".{run.name}.lock"]


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_file_system_without_locks_still_lets_only_one(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Lustre is without the mount option `flock`."""

    def missing(*_: Any) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    with run_lock(run), pytest.raises(Busy), run_lock(run):
        pass
    with run_lock(run):
        pass
