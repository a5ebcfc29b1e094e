"""One line for each job of a sweep that begins or ends in another process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from emote.sweeps.index import FAILED, FINISHED, STARTED, STOPPED, Entry, Index
from emote.util.console import echo
from emote.util.units import readable_seconds

LOOK_AGAIN_S = 1.0


@contextmanager
def watching(index: Index) -> Iterator[None]:
    """For the length of the block, say what the index says anew."""
    entries = index.entries()
    known = {entry.name: _told(entry, len(entries)) for entry in entries}
    ended = threading.Event()

    def look() -> None:
        entries = index.entries()
        for entry in entries:
            if (told := _told(entry, len(entries))) and told != known.get(entry.name):
                echo(told)
            known[entry.name] = told

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


def _told(entry: Entry, jobs: int) -> str | None:
    """What there is to say of it; None while it waits."""
    ends = {
        STARTED: "begins" if entry.error is None else f"is not ours to do now: {entry.error}",
        FINISHED: f"finished in {readable_seconds(entry.seconds)}" if entry.seconds else "finished",
        FAILED: f"failed: {entry.error}",
        STOPPED: "was stopped",
    }
    how = ends.get(entry.state)
    return how and f"job {entry.number} of {jobs} {how}  ({entry.label})"
