"""Push a run to the Hub that was not pushed yet, or not whole."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from emote.config import HubConfig, is_hub_name, key
from emote.hub.background import RETRIES_S
from emote.hub.client import Hub
from emote.hub.push import State, note_in_summary, plan, push_patiently, remove_old_snapshots
from emote.hub.resume import keep_for_resume
from emote.runs.lock import run_lock
from emote.runs.run_folder import RunFolder
from emote.util.errors import ConfigError
from emote.util.hints import nearest

LATEST = "latest"


@dataclass
class Push:
    run: str = key("a run: its name, directory or the start of its identity; latest: the one that finished last",
                   default=LATEST)  # fmt: skip
    repo: str | None = key("owner/name; null: where it was to go, or <you>/<name>-<identity>", default=None)
    private: bool = key("a repository that is new is made private", default=True)
    dir: str = key("where runs are kept", default="runs")


def push_later(words: Push) -> int:
    """Push what is pending of the run, else its last finished step count. Returns the exit code: 1 if still pending.

    Raises ConfigError for what the user must mend.
    """
    if words.repo is not None and not is_hub_name(words.repo):
        raise ConfigError(f"repo must be owner/name, got {words.repo or 'nothing'}")
    folder = _find(words.run, Path(words.dir))
    with run_lock(folder.root):
        state = State.of(folder.root)
        there = state.pending is not None and (folder.root / state.pending).is_dir()
        wanted = folder.root / str(state.pending) if there else _last(folder)
        repo, private = words.repo or state.repository, words.private
        to = HubConfig(push=True, repo=repo, private=private, checkpoints=state.checkpoints)
        hub = Hub()
        hub.check(replace(to, repo=None))
        if to.repo is None:
            to = replace(to, repo=hub.name_for(to, folder.root.name))
        if to.checkpoints and not there:  # what is pending has it beside it
            keep_for_resume(folder, int(wanted.name), folder.root.name)
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


def _find(run: str, runs: Path) -> RunFolder:
    """Raises ConfigError where there is no such run, or several."""
    folders = [RunFolder(root) for root in sorted(runs.glob("*/")) if RunFolder(root).delivered_steps()]
    if run == LATEST:
        if not folders:
            raise ConfigError(f"run=latest finds no finished run in {runs}; set dir= for another directory")
        return max(folders, key=lambda folder: (_last(folder) / "summary.json").stat().st_mtime)
    for path in (Path(run).expanduser(), runs / run):
        if path.is_dir() and (path / "checkpoints").is_dir():
            return RunFolder(path)
    parts = [(folder, *folder.root.name.rpartition("-")[::2]) for folder in folders]
    found = [folder for folder, name, identity in parts if run == name or (run and identity.startswith(run))]
    if len(found) == 1:
        return found[0]
    names = [folder.root.name for folder in found or folders]
    if found:
        raise ConfigError(f"run={run} is the name of {len(found)} runs in {runs}; use one of {', '.join(names)}")
    close = nearest(run, [*names, *(name for _, name, _ in parts)])
    raise ConfigError(f"run={run} is no run in {runs}" + (f"; did you mean {close}?" if close else ""))


def _last(folder: RunFolder) -> Path:
    steps = folder.delivered_steps()
    if not steps:
        raise ConfigError(f"{folder.root} has no finished step count yet; the command that began it goes on with it")
    return folder.deliverables(steps[-1])
