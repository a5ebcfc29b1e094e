"""Push a run to the Hub that was not pushed yet, or not whole."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from emote.config import HubConfig, is_hub_name, key
from emote.hub.background import RETRIES_S
from emote.hub.client import Hub, NotNow
from emote.hub.push import State, note_in_summary, plan, push_patiently, remove_old_snapshots
from emote.hub.resume import keep_for_resume
from emote.runs.find import LATEST, find_run, finished_runs, nearest_run
from emote.runs.lock import run_lock
from emote.runs.run_folder import RunFolder
from emote.util.errors import ConfigError
from emote.util.hints import did_you_mean


@dataclass
class Push:
    run: str = key("a run: its name, directory or the start of its identity; latest: the one that finished last",
                   default=LATEST)  # fmt: skip
    repo: str | None = key("owner/name; null: where it was to go, or <you>/<name>-<identity>", default=None)
    private: bool = key("a repository that is new is made private", default=True)
    runs_dir: str = key("where runs are kept", default="runs")


def push_later(words: Push) -> int:
    """Push what is pending of the run, else its last finished step count. Returns the exit code: 1 if still pending.

    Raises ConfigError for what the user must mend.
    """
    if words.repo is not None and not is_hub_name(words.repo):
        raise ConfigError(f"repo must be owner/name, got {words.repo or 'nothing'}")
    folder = _find(words.run, Path(words.runs_dir))
    with run_lock(folder.root):
        state = State.of(folder.root)
        there = state.pending is not None and (folder.root / state.pending).is_dir()
        wanted = folder.root / str(state.pending) if there else _last(folder)
        repo, private = words.repo or state.repository, words.private
        to = HubConfig(push=True, repo=repo, private=private, checkpoints=state.checkpoints)
        hub = Hub()
        try:
            hub.check(replace(to, repo=None))
            if to.repo is None:
                to = replace(to, repo=hub.name_for(to, folder.name))
        except NotNow as error:
            print(f"not on the Hub yet: {wanted.relative_to(folder.root)} ({error}); the same command tries again")
            return 1
        if to.checkpoints and not there:  # what is pending has it beside it
            keep_for_resume(folder, int(wanted.name), folder.name)
        plan(folder.root, wanted, to)
        deadline = time.monotonic() + RETRIES_S
        push_patiently(folder.root, hub, lambda: deadline, time.sleep, lambda text: print(text, flush=True))
        note_in_summary(folder.root)
        remove_old_snapshots(folder.root)
        after = State.of(folder.root)
    if after.pending:
        print(f"not on the Hub yet: {after.pending} ({after.reason}); the same command tries again")
        return 1
    same = after.revision == state.revision and state.pushed == after.pushed
    print(f"{'nothing new: ' if same else ''}{hub.address(after.repository)} has {after.pushed} ({after.revision})")
    return 0


def _find(run: str, runs_dir: Path) -> RunFolder:
    """Raises ConfigError where there is no such run, or several."""
    if folder := find_run(run, runs_dir):
        return folder
    guess = nearest_run(run, finished_runs(runs_dir))
    raise ConfigError(f"run={run} is not a run in {runs_dir}{did_you_mean(guess)}")


def _last(folder: RunFolder) -> Path:
    if path := folder.last_deliverables():
        return path
    raise ConfigError(f"{folder.root} has no finished step count yet; the command that began it goes on with it")
