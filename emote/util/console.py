"""What the run tells the person in front of it, and its own log file."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress

WARNINGS = ("warning:", "note:", "W&B:")


def redraws_fail(environment: Mapping[str, str]) -> bool:
    """Return whether this is a notebook's command: its terminal keeps every state of a bar as a line."""
    return any(name in environment for name in ("JPY_PARENT_PID", "COLAB_RELEASE_TAG"))


def make_console(stderr: bool = False) -> Console:
    return Console(
        stderr=stderr, highlight=False, soft_wrap=True, force_terminal=False if redraws_fail(os.environ) else None
    )


console = make_console()
_log: Path | None = None
_quiet: set[str] | None = None  # warnings that were printed, while what is said goes to the log alone
_working_on = ""  # before each progress bar, while it does


def log_to(path: Path | None) -> None:
    """Append what is printed to this file too, from now on."""
    global _log
    _log = path


def echo(text: str) -> None:
    """One line for the terminal (above a progress bar, if there is one) and for the log."""
    if _quiet is None or _is_new_warning(text, _quiet):
        console.print(text, markup=False)
    if _log is not None:
        with suppress(OSError), open(_log, "a", encoding="utf-8") as file:  # a full disk ends no run for its log
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")


@contextmanager
def to_the_log_alone(what: str, warned: set[str]) -> Iterator[None]:
    """For the length of the block what is said goes to the log, but for warnings that are not in `warned` yet.

    what: is written before each progress bar, which is gone when it is done.
    """
    global _quiet, _working_on
    _quiet, _working_on = warned, what
    try:
        yield
    finally:
        _quiet, _working_on = None, ""


def _is_new_warning(text: str, warned: set[str]) -> bool:
    if not text.startswith(WARNINGS) or text in warned:
        return False
    warned.add(text)
    return True


def progress_bar(console: Console, shown: bool | None = None, transient: bool = False) -> Progress:
    """Return a bar with ETA; tasks need `note=`.

    shown: None shows it where the output is a terminal.  transient: it is gone when it is done.
    """
    from rich.markup import escape  # late: few need one
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    before = escape(_working_on).replace("{", "{{").replace("}", "}}") + "  " if _working_on else ""
    return Progress(
        TextColumn(before + "{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=transient or _quiet is not None,
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
