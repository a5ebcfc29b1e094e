"""The one training that the page may have going: `emote train` in a process of its own, seen through its run."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from emote.runs.damage import Damaged, read_state
from emote.runs.metrics_file import Row
from emote.runs.run_folder import RunFolder
from emote.util.errors import ConfigError
from emote.util.files import write_json
from emote.util.places import TRAIN

NOTE = ".page.json"  # in the directory of the runs: what was trained last from the page
STARTED = re.compile(r"^run ([\w.-]+): ", re.MULTILINE)  # what a run says first
RUNNING, STOPPING, STOPPED, FAILED, FINISHED = "running", "stopping", "stopped", "failed", "finished"
CLOSING_S = 120  # for a run to finish its step and to save


@dataclass(frozen=True)
class State:
    """What the page shows of a training. run: its name, once known.  said: what it has printed, errors last."""

    kind: str
    words: list[str]
    steps: int
    run: str | None
    rows: list[Row]
    samples: Path | None
    said: str

    @property
    def step(self) -> int:
        return int(self.rows[-1]["step"]) if self.rows else 0

    @property
    def is_going(self) -> bool:
        return self.kind in (RUNNING, STOPPING)


class Training:
    """Starts, stops and watches. A closed page changes nothing; a new server knows the last one by a note beside the
    runs, and can go on with it."""

    def __init__(self, runs_dir: Path, scratch: Path) -> None:
        self.runs_dir = runs_dir
        self._out, self._errors = scratch / "train.out", scratch / "train.err"
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._changing = threading.Lock()

    def start(self, words: list[str], steps: int) -> None:
        """Begin, or go on: `emote train` knows which. Raises ConfigError while another one is going."""
        with self._changing:
            if self._process and self._process.poll() is None:
                raise ConfigError("a training is going on already; one at a time: stop it, or wait for its end")
            self.runs_dir.mkdir(parents=True, exist_ok=True)
            write_json(self._note, {"words": words, "steps": steps, "run": None})
            self._out.parent.mkdir(parents=True, exist_ok=True)
            with open(self._out, "wb") as out, open(self._errors, "wb") as errors:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "emote", "train", *words],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=errors,
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                    start_new_session=True,  # Ctrl-C is for the server, which then asks the run to stop
                )
            self._stopping = False

    def go_on(self) -> None:
        state = self.state()
        if state is None:
            raise ConfigError("nothing has been trained from this page yet")
        self.start(state.words, state.steps)

    def stop(self) -> None:
        """Ask the run to finish its step and to save. Once: a second signal would end it without saving."""
        with self._changing:
            if self._process and self._process.poll() is None and not self._stopping:
                self._stopping = True
                self._process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Stop, and wait for it."""
        self.stop()
        if self._process:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(CLOSING_S)

    def state(self) -> State | None:
        """Return how the last training stands; None where there was none."""
        try:
            note = read_state(self._note)
            words, steps, run = list(map(str, note["words"])), int(note["steps"]), note["run"]
        except (Damaged, ValueError, KeyError, TypeError):
            return None
        code = self._process.poll() if self._process else None
        said = errors = ""
        if self._process:
            said, errors = (file.read_text(encoding="utf-8", errors="replace") for file in (self._out, self._errors))
            if run is None and (started := STARTED.search(said)):
                run = started[1]
                write_json(self._note, {**note, "run": run})
        folder = RunFolder(self.runs_dir / run) if run else None
        rows = folder.metrics.rows() if folder else []
        samples = sorted((folder.root / "samples").glob("*.png")) if folder else []
        if self._process and code is None:
            kind = STOPPING if self._stopping else RUNNING
        elif folder and folder.is_delivered(steps) and not code:
            kind = FINISHED
        elif code and code not in (128 + signal.SIGINT, -signal.SIGINT):
            kind, said = FAILED, errors.strip() or said
        else:
            kind = STOPPED
        if kind == FINISHED and folder and (last := folder.deliverables(steps) / "samples.png").is_file():
            samples.append(last)
        return State(kind, words, steps, run, rows, samples[-1] if samples else None, said)

    @property
    def _note(self) -> Path:
        return self.runs_dir / NOTE


def sentence(words: list[str]) -> str:
    """Return what does the same in a terminal."""
    return f"{TRAIN} {shlex.join(words)}"
