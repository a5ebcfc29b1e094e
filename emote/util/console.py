"""What the run tells the person in front of it, and its own log file."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress


def redraws_fail(environment: Mapping[str, str]) -> bool:
    """Return whether this is a notebook's command: its terminal keeps every state of a bar as a line."""
    return any(name in environment for name in ("JPY_PARENT_PID", "COLAB_RELEASE_TAG"))


def make_console(stderr: bool = False) -> Console:
    return Console(
        stderr=stderr, highlight=False, soft_wrap=True, force_terminal=False if redraws_fail(os.environ) else None
    )


console = make_console()
_log: Path | None = None


def log_to(path: Path | None) -> None:
    """Append what is printed to this file too, from now on."""
    global _log
    _log = path


def echo(text: str) -> None:
    """One line for the terminal (above a progress bar, if there is one) and for the log."""
    console.print(text, markup=False)
    if _log is not None:
        with suppress(OSError), open(_log, "a", encoding="utf-8") as file:  # a full disk ends no run for its log
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")


def progress_bar(console: Console, shown: bool | None = None, transient: bool = False) -> Progress:
    """Return a bar with ETA; tasks need `note=`.

    shown: None shows it where the output is a terminal.  transient: it is gone when it is done.
    """
    from rich.progress import (  # late: few need one
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=transient,
        disable=not (console.is_terminal if shown is None else shown),
    )


class _ConsoleHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        echo(self.format(record))


def show_warnings() -> None:
    """Notices of emote's own modules (waiting for another process, a damaged cache) reach the terminal and the log."""
    logger = logging.getLogger("emote")
    if not any(isinstance(handler, _ConsoleHandler) for handler in logger.handlers):
        logger.addHandler(_ConsoleHandler())
        logger.propagate = False
