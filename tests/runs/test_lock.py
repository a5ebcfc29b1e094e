from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emote.runs.lease import SILENT_S, Held, Lease
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


@pytest.fixture(params=["ENOLCK", "EOPNOTSUPP", "ENOSYS"])
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As mounted drives have none, and Lustre has none without the mount option `flock`."""

    def missing(*_: Any) -> None:
        raise OSError(getattr(errno, request.param), "no locks here")

    monkeypatch.setattr(fcntl, "flock", missing)


@pytest.fixture
def lease(run: Path) -> Path:
    run.parent.mkdir(parents=True)
    return run.with_name(f".{run.name}.lease")


def foreign(lease: Path, silent_s: float, **more: Any) -> None:
    """A lease that another machine has left, in place of what was there."""
    new = lease.with_suffix(".new")
    new.write_text(json.dumps({"process": 4242, "host": "other-vm", "machine": "x", "token": "y", **more}))
    os.utime(new, (time.time() - silent_s,) * 2)
    new.replace(lease)


@pytest.mark.usefixtures("no_locks")
def test_a_drive_without_locks_still_lets_only_one(run: Path) -> None:
    held = f"by process {os.getpid()} on .* ago, taken over after"
    with run_lock(run), pytest.raises(Busy, match=held), run_lock(run):
        pass
    with run_lock(run):
        pass
    assert list(run.parent.iterdir()) == []


@pytest.mark.usefixtures("no_locks")
def test_one_that_died_elsewhere_is_taken_over_when_it_is_silent(
    run: Path, lease: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign(lease, silent_s=SILENT_S / 2)
    with pytest.raises(Busy, match="by process 4242 on other-vm"), run_lock(run):
        pass
    foreign(lease, silent_s=SILENT_S + 60)
    with run_lock(run):
        assert json.loads(lease.read_text())["process"] == os.getpid()
    said = f"note: {run.name} is taken over from process 4242 on other-vm: it has been silent"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "{", "[]", '{"process": "x"}'])
def test_a_damaged_lease_is_one_of_somebody_until_it_is_silent(run: Path, lease: Path, content: str) -> None:
    lease.write_text(content)
    with pytest.raises(Held, match="another process"):
        Lease(lease).acquire()
    os.utime(lease, (time.time() - SILENT_S - 60,) * 2)
    Lease(lease).acquire()


def test_one_that_died_here_is_taken_over_at_once(lease: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = "import sys; from pathlib import Path; from emote.runs.lease import Lease; import os;"
    code += "Lease(Path(sys.argv[1])).acquire(); os._exit(9)"
    subprocess.run([sys.executable, "-c", code, str(lease)], cwd=ROOT)
    Lease(lease).acquire()
    assert "it has ended" in capsys.readouterr().out


def test_a_holder_keeps_writing_and_stops_when_another_took_it(lease: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = threading.Event()
    monkeypatch.setattr("emote.runs.lease.BEAT_S", 0.02)
    monkeypatch.setattr(os, "kill", lambda *_: stopped.set())
    held = Lease(lease)
    held.acquire()
    os.utime(lease, (1, 1))
    until = time.monotonic() + 20
    while lease.stat().st_mtime < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert lease.stat().st_mtime > 2
    foreign(lease, silent_s=0)
    assert stopped.wait(20)
    held.release()
    assert json.loads(lease.read_text())["process"] == 4242
