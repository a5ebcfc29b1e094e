"""A progress bar with ETA, for everything that takes more than a few seconds."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def progress_bar(console: Console, shown: bool | None = None, transient: bool = False) -> Progress:
    """A bar with ETA; tasks need `note=`.

    shown: None shows it where the output is a terminal.  transient: it is gone when it is done.
    """
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
