"""One line for each job of a sweep that ends in another process."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from emote.sweeps.index import FAILED, FINISHED, STARTED, STOPPED, Entry, Index
from emote.sweeps.sweep import finished_line
from emote.util.console import echo

LOOK_AGAIN_S = 1.0


@contextmanager
def watching(index: Index) -> Iterator[None]:
    """For the length of the block, say what the index says anew."""
    known = {entry.name: (entry.state, entry.error) for entry in index.entries()}
    ended = threading.Event()

    def look() -> None:
        entries = index.entries()
        for entry in entries:
            state = (entry.state, entry.error)
            if state != known.get(entry.name) and (told := _told(entry, entries, index)):
                echo(told)
            known[entry.name] = state

    def keep_looking() -> None:
        while not ended.wait(LOOK_AGAIN_S):
            look()

    thread = threading.Thread(target=keep_looking, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        look()


def _told(entry: Entry, entries: Sequence[Entry], index: Index) -> str | None:
    """What there is to say of it; None while it waits, or another process of this sweep is at it."""
    if entry.state == FINISHED:
        return finished_line(entry, entries, index.run_of(entry))
    ends = {
        STARTED: None if entry.error is None else f"is not ours to do now: {entry.error}",
        FAILED: f"failed: {entry.error}",
        STOPPED: "was stopped",
    }
    how = ends.get(entry.state)
    return how and f"job {entry.number} of {len(entries)} {how}  ({entry.label})"
