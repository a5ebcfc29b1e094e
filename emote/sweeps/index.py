"""sweep.json: the jobs of a sweep, where each keeps its results, and how far it got."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from emote.runs.lock import Busy
from emote.runs.run_folder import RunFolder
from emote.sweeps.plan import Job, Plan
from emote.util.errors import ConfigError
from emote.util.files import write_json, write_text

FILE = "sweep.json"
STEPS_WORD = "trainer.max_steps="
WAITING, STARTED, STOPPED, FAILED, FINISHED = "waiting", "started", "stopped", "failed", "finished"


@dataclass
class Entry:
    """A job as it is written down. values: of the keys in which the jobs differ.  run, log: relative to the sweep's
    directory.  state: `started` and nothing after it is also what a killed process leaves.  steps_run, seconds: of the
    process that finished it."""

    number: int
    words: list[str]
    differs: list[str]
    values: dict[str, Any]
    run: str
    step: int
    state: str = WAITING
    error: str | None = None
    log: str | None = None
    steps_run: int | None = None
    seconds: float | None = None

    @property
    def name(self) -> str:
        """As `Job.name`."""
        return f"{Path(self.run).name}-{self.step}"

    @property
    def is_busy(self) -> bool:
        """Whether another process was at it when its turn came, and has not said yet how it ended."""
        return self.state == STARTED and self.error is not None

    @property
    def label(self) -> str:
        return " ".join(self.differs) or Path(self.run).name

    @property
    def run_label(self) -> str:
        """Of all step counts of its run."""
        return " ".join(word for word in self.differs if not word.startswith(STEPS_WORD)) or Path(self.run).name


class Index:
    """The file of one sweep. Several processes may change it: each change is one locked, atomic replacement."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / FILE

    def read(self) -> dict[str, Any]:
        """Raises ConfigError where there is none."""
        try:
            return json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.directory} is no sweep: its {FILE} cannot be read ({error})") from error

    def entries(self) -> list[Entry]:
        return [Entry(**entry) for entry in self.read()["jobs"]]

    def entry(self, words: Sequence[str]) -> Entry:
        return next(entry for entry in self.entries() if entry.words == list(words))

    def run_of(self, entry: Entry) -> Path:
        return Path(os.path.normpath(self.directory / entry.run))

    def write(self, plan: Plan, command: str) -> None:
        """Begin, or go on: of jobs that are finished what is known of them is kept."""
        with self._locked():
            known = {(e.run, e.step): e for e in self.entries()} if self.path.exists() else {}
            values = plan.values()
            jobs = [self._planned(number, job, values[number - 1], known) for number, job in enumerate(plan.jobs, 1)]
            told = {"format": 1, "name": self.directory.name, "command": command, "jobs": [asdict(job) for job in jobs]}
            write_json(self.path, told)

    def _planned(self, number: int, job: Job, values: dict[str, Any], known: dict[tuple[str, int], Entry]) -> Entry:
        run = os.path.relpath(job.run, self.directory)
        entry = Entry(number, list(job.words), list(job.differs), values, run, job.step)
        if job.finished:
            entry.state = FINISHED
            if (run, job.step) in known:
                entry.steps_run, entry.seconds = known[run, job.step].steps_run, known[run, job.step].seconds
        return entry

    @contextmanager
    def working_on(self, words: Sequence[str]) -> Iterator[Entry]:
        """Writes down that a job began, and how it ended. Raises ConfigError where it was another run than planned."""
        entry, began = self.begin(words), time.monotonic()
        try:
            yield entry
            self.finish(entry, time.monotonic() - began)
        except BaseException as error:
            self.fail(entry, error)
            raise

    def begin(self, words: Sequence[str]) -> Entry:
        return self._change(words, state=STARTED, error=None, log=None)

    def put_back(self, words: Sequence[str]) -> None:
        """What another process left unfinished waits again."""
        self._change(words, state=WAITING, error=None)

    def finish(self, entry: Entry, seconds: float) -> None:
        """Raises ConfigError where it was another run than planned."""
        steps_run = self._summary(entry)["steps_run"]
        self._change(entry.words, state=FINISHED, error=None, steps_run=steps_run, seconds=round(seconds, 3))

    def fail(self, entry: Entry, error: BaseException) -> None:
        """error: what ended the job."""
        if isinstance(error, Busy):  # the same sweep in another process: its state stands
            self._change(entry.words, error=reason(error))
        elif isinstance(error, Exception):
            log = Path("logs") / f"{entry.number:03d}.log"
            head = f"{' '.join(entry.words)}\nrun {self.run_of(entry)}, its own log is run.log there\n\n"
            write_text(self.directory / log, head + "".join(traceback.format_exception(error)))
            self._change(entry.words, state=FAILED, error=reason(error), log=str(log))
        else:
            self._change(entry.words, state=STOPPED)

    def _summary(self, entry: Entry) -> dict[str, Any]:
        folder = RunFolder(self.run_of(entry))
        if not folder.is_delivered(entry.step):
            raise ConfigError(
                "the images or the base model changed while the sweep ran, so this is another run than was planned; "
                "the same command again plans with what there is now, and keeps what fits it"
            )
        return folder.summary(entry.step)

    def _change(self, words: Sequence[str], **values: Any) -> Entry:
        with self._locked():
            told = self.read()
            found = next(entry for entry in told["jobs"] if entry["words"] == list(words))
            found.update(values)
            write_json(self.path, told)
            return Entry(**found)

    def _locked(self) -> FileLock:
        self.directory.mkdir(parents=True, exist_ok=True)
        return FileLock(self.directory / f".{FILE}.lock")


def output_of(name: str) -> Path:
    """Return what the job of this name prints where it has a process of its own, relative to the sweep's directory."""
    return Path("logs") / f"{name}.out"


def reason(error: BaseException) -> str:
    """Return why a job failed, in one line."""
    first = (str(error).strip().splitlines() or [""])[0]
    return first if isinstance(error, ConfigError) else f"{type(error).__name__}: {first}"
