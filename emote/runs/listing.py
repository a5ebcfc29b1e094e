"""The runs on this disk: what they are, how far they got, how much room they take."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from emote.config import key
from emote.runs.damage import Damaged
from emote.runs.find import HOW_TO_TRAIN, list_run_folders, matching_runs
from emote.runs.lock import run_lock
from emote.runs.run_folder import RunFolder
from emote.util.errors import ConfigError
from emote.util.units import readable_bytes, readable_seconds


@dataclass
class RunsOptions:
    runs_dir: str = key("where runs are kept", default="runs")
    delete: str | None = key("a run to remove: its name, or the start of its identity", default=None)


@dataclass(frozen=True)
class RunRow:
    """finished: delivered step counts.  saved: the furthest checkpoint.  losses: of the last delivery.

    damage: what is wrong with its summary, which then tells no losses.
    """

    name: str
    finished: list[int]
    saved: int
    train_loss: float | None
    held_out_loss: float | None
    size_bytes: int
    age_seconds: float
    damage: str | None = None


def list_or_delete(options: RunsOptions) -> None:
    """Print the table, or remove a run. Raises ConfigError where `delete` does not mean exactly one."""
    runs_dir = Path(options.runs_dir)
    if options.delete is not None:
        row = delete_run(runs_dir, options.delete)
        print(f"removed {row.name} ({readable_bytes(row.size_bytes)})")
    elif rows := list_runs(runs_dir):
        print_runs(rows, Console(width=None if sys.stdout.isatty() else 200))
    else:
        print(f"no runs in {runs_dir}; {HOW_TO_TRAIN}")


def list_runs(directory: Path) -> list[RunRow]:
    """Return all runs in a directory, the newest first. Anything else that lies there is left alone."""
    found = []
    for folder in list_run_folders(directory):
        finished = folder.delivered_steps()
        summary, damage = _summary(folder, finished)
        files = list(_stats(folder.root))
        found.append(
            RunRow(
                name=folder.name,
                finished=finished,
                saved=folder.latest_checkpoint(),
                train_loss=_number(summary, "train_loss", "last_500_mean"),
                held_out_loss=_number(summary, "validation_loss", "final"),
                size_bytes=sum(stat.st_size for stat in files),
                age_seconds=time.time() - max((stat.st_mtime for stat in files), default=time.time()),
                damage=damage,
            )
        )
    return sorted(found, key=lambda row: row.age_seconds)


def _summary(folder: RunFolder, finished: list[int]) -> tuple[dict[str, Any], str | None]:
    """Of the last finished step count: its summary, and what is wrong with it."""
    try:
        return (folder.summary(finished[-1]) if finished else {}), None
    except Damaged as error:
        return {}, f"{str(error).removeprefix(f'{folder.root}{os.sep}')}; its own command writes it again"


def _number(summary: dict[str, Any], section: str, name: str) -> float | None:
    told = summary.get(section)
    value = told.get(name) if isinstance(told, dict) else None
    return float(value) if isinstance(value, (int, float)) else None


def _stats(root: Path) -> Iterator[os.stat_result]:
    for path in root.rglob("*"):
        with suppress(FileNotFoundError):  # a run in progress prunes its checkpoints
            if path.is_file():
                yield path.stat()


def delete_run(directory: Path, name: str) -> RunRow:
    """Remove the one run that `name` means, as for `matching_runs`. Raises ConfigError otherwise, and Busy where
    another process is at it."""
    rows = list_runs(directory)
    meant = matching_runs(name, list_run_folders(directory))
    chosen = [row for row in rows if row.name in {folder.name for folder in meant}]
    if len(meant) != 1 or not chosen:
        known = ", ".join(row.name for row in rows) or "none"
        raise ConfigError(f"delete must name one run in {directory}, got {name} ({len(meant)} match); runs: {known}")
    root = meant[0].root
    if root.is_symlink():
        raise ConfigError(f"{root} is a link to {root.resolve()}; remove the link, and what it leads to, yourself")
    with run_lock(root):  # Busy where it is being trained
        shutil.rmtree(root)
    return chosen[0]


def print_runs(rows: list[RunRow], console: Console) -> None:
    table = Table(box=None, header_style="bold")
    for title in ("run", "finished", "saved", "loss", "held-out", "size", "age"):
        # a name is folded rather than cut: it is what people type
        table.add_column(title, justify="left" if title in ("run", "finished") else "right", overflow="fold")
    for row in rows:
        table.add_row(
            row.name,
            ", ".join(map(str, row.finished)) or "–",
            str(row.saved),
            "–" if row.train_loss is None else f"{row.train_loss:.4f}",
            "–" if row.held_out_loss is None else f"{row.held_out_loss:.4f}",
            readable_bytes(row.size_bytes),
            readable_seconds(row.age_seconds),
        )
    console.print(table)
    for row in rows:
        if row.damage:
            console.print(f"{row.name}: {row.damage}", markup=False, highlight=False)
