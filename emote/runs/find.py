"""Runs by name: what a name says, which runs a directory has, and the one that is meant."""

from __future__ import annotations

from pathlib import Path

from emote.runs.run_folder import RunFolder
from emote.util.errors import ConfigError
from emote.util.hints import nearest
from emote.util.places import TRAIN

LATEST = "latest"
HOW_TO_TRAIN = f"{TRAIN} experiment=smoke makes one in 20 seconds"


def list_run_folders(runs_dir: Path) -> list[RunFolder]:
    """Return every run in a directory, finished or not, by name. Anything else that lies there is none."""
    return [folder for root in sorted(runs_dir.glob("*/")) if (folder := RunFolder(root)).is_run]


def finished_runs(runs_dir: Path) -> list[RunFolder]:
    """Return the runs with a finished step count, the one that finished last first."""
    folders = [folder for folder in list_run_folders(runs_dir) if folder.delivered_steps()]
    return sorted(folders, key=RunFolder.finished_at, reverse=True)


def matching_runs(run: str, folders: list[RunFolder]) -> list[RunFolder]:
    """Those that `run` means: a whole name, the name without its identity, or the start of the identity.

    A run that run.fresh=true moved aside is meant by its whole name alone.
    """
    whole = [folder for folder in folders if folder.name == run]
    current = [folder for folder in folders if not folder.is_aside]
    return whole or [folder for folder in current if run and (run == folder.title or folder.identity.startswith(run))]


def find_run(run: str, runs_dir: Path) -> RunFolder | None:
    """The one run that `run` means: `latest`, its directory, or as for `matching_runs`; None where there is none.

    Finished runs are preferred to others. Raises ConfigError where several are meant, or where there is no latest one.
    """
    folders = finished_runs(runs_dir)
    if run == LATEST:
        if not folders:
            raise ConfigError(f"run=latest finds no finished run in {runs_dir}; {HOW_TO_TRAIN}")
        return folders[0]
    for path in (Path(run).expanduser(), runs_dir / run) if run else ():
        if (folder := RunFolder(path)).is_run:
            return folder
    found = matching_runs(run, folders) or matching_runs(run, list_run_folders(runs_dir))
    if len(found) > 1:
        names = ", ".join(sorted(folder.name for folder in found))
        raise ConfigError(f"run={run} is the name of {len(found)} runs in {runs_dir}; use one of {names}")
    return found[0] if found else None


def nearest_run(run: str, folders: list[RunFolder]) -> str | None:
    """Return the name, with its identity or without, that was probably meant."""
    return nearest(run, [*(folder.name for folder in folders), *(folder.title for folder in folders)])


def known_runs(runs_dir: Path) -> str:
    """Return the finished runs in words, the newest first, or how to make one."""
    names = [folder.name for folder in finished_runs(runs_dir)]
    return f"finished runs: {', '.join(names)}" if names else f"no finished runs in {runs_dir}; {HOW_TO_TRAIN}"
