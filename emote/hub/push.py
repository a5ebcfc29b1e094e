"""Bring a run's folder to the Hub: compare first, one commit for what differs, and remember what is where."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from emote.config import HubConfig
from emote.hub.client import Hub, NotNow
from emote.hub.collect import RESUME, collect
from emote.runs.run_folder import SNAPSHOTS
from emote.util.errors import ConfigError
from emote.util.files import write_json

STATE_FILE = "hub.json"
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 300.0
_writing = threading.Lock()  # training plans while another thread pushes


@dataclass
class State:
    """What of a run is where; kept in its directory as hub.json.

    pushed: the folder (relative to the run's) whose content the repository's last commit of ours has, at `revision`.
    pending: the folder that is to be pushed next, and `reason` why it is not yet. files: what we have put there.
    """

    repository: str | None = None
    private: bool = True
    checkpoints: bool = False
    pushed: str | None = None
    revision: str | None = None
    pending: str | None = None
    reason: str | None = None
    files: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, run: Path) -> State:
        """Of a run's directory; an empty one where nothing was ever to be pushed. Raises ConfigError if unreadable."""
        file = run / STATE_FILE
        if not file.exists():
            return cls()
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(
                f"{file} cannot be read ({error}); remove it, and what is on the Hub is compared"
            ) from error

    def save(self, run: Path) -> None:
        write_json(run / STATE_FILE, asdict(self))


def plan(run: Path, folder: Path, hub: HubConfig) -> None:
    """Note that a folder of the run is to be pushed: should the process end now, the next one knows."""
    with _writing:
        state = State.of(run)
        if hub.repo not in (None, state.repository):  # nothing of ours is there
            state = State(repository=hub.repo)
        state.private, state.checkpoints = hub.private, hub.checkpoints
        state.pending, state.reason = folder.relative_to(run).as_posix(), "not tried yet"
        state.save(run)


def push_pending(run: Path, hub: Hub) -> State:
    """Push what is pending, once. Raises ConfigError for what the user must mend and NotNow, both noted as reason."""
    state = State.of(run)
    if state.pending is None:
        return state
    planned = state.pending
    try:
        if state.repository is None:
            state.repository = hub.name_for(HubConfig(repo=None), run.name)
        state.revision, state.files = _push(run / planned, state, hub)
        state.pushed = planned
    except (ConfigError, NotNow) as error:
        state.reason = str(error).splitlines()[0]
        _save_unless_replanned(run, state, planned)
        raise
    state.pending = state.reason = None
    _save_unless_replanned(run, state, planned)
    return state


def _push(folder: Path, state: State, hub: Hub) -> tuple[str, list[str]]:
    assert state.repository is not None
    resume = folder.parent.parent / SNAPSHOTS / folder.name / RESUME
    wanted = collect(folder, state.repository, resume)
    hub.prepare(state.repository, state.private)
    there = hub.contents(state.repository)
    additions = {path: content for path, content in wanted.items() if not there.has(path, content)}
    deletions = [path for path in state.files if path not in wanted and path in there.digests]
    if not additions and not deletions:
        return there.revision, sorted(wanted)
    message = f"{folder.parent.parent.name}, step {int(folder.name)}"
    return hub.commit(state.repository, there.revision, message, additions, deletions), sorted(wanted)


def _save_unless_replanned(run: Path, state: State, planned: str) -> None:
    """A later folder may have been planned while this one was on its way: it stays pending."""
    with _writing:
        now = State.of(run)
        if now.pending != planned:
            state.pending, state.reason = now.pending, now.reason
        state.save(run)


def push_patiently(
    run: Path, hub: Hub, until: Callable[[], float], wait: Callable[[float], None], echo: Callable[[str], None]
) -> None:
    """Push what is pending, trying again with growing pauses while time allows; what is not done stays pending.

    until: the time (of `time.monotonic`) after which nothing is tried again. wait: sleeps so many seconds, or less.
    Raises ConfigError for what the user must mend.
    """
    pause = FIRST_WAIT_S
    while True:
        try:
            push_pending(run, hub)
            if State.of(run).pending is None:
                return
        except NotNow as error:
            seconds = max(pause, error.wait_seconds or 0.0)
            if time.monotonic() + seconds > until():
                return
            echo(f"{error}; trying again in {seconds:.0f} s")
            wait(seconds)
            pause = min(2 * pause, LONGEST_WAIT_S)


def give_up(run: Path, reason: str) -> None:
    """Say why what is pending is so."""
    with _writing:
        state = State.of(run)
        if state.pending:
            state.reason = reason.splitlines()[0][:200]
            state.save(run)


def remove_old_snapshots(run: Path) -> None:
    """All but the one that is pending: nobody else reads them."""
    pending = Path(State.of(run).pending or "").name
    for folder in (run / SNAPSHOTS).glob("[0-9]*"):
        if folder.name != pending:
            shutil.rmtree(folder, ignore_errors=True)


def describe(state: State) -> dict[str, str | None]:
    """For the summary: what is where."""
    return {key: value for key, value in asdict(state).items() if key not in ("files", "private", "checkpoints")}


def note_in_summary(run: Path) -> None:
    """Write what is where into the summary of every finished step count that was pushed or is to be."""
    state = State.of(run)
    for name in {state.pushed, state.pending} - {None}:
        file = run / str(name) / "summary.json"
        if file.exists():
            summary = json.loads(file.read_text(encoding="utf-8"))
            write_json(file, summary | {"hub": describe(state)})
