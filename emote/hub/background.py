"""Pushes while training goes on: one thread, which always sends the newest folder and never holds anybody up."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from emote.config import HubConfig
from emote.hub.client import Hub, NotNow
from emote.hub.push import State, give_up, note_in_summary, plan, push_patiently, remove_old_snapshots
from emote.util.errors import ConfigError

RETRIES_S = 30.0  # at the end of a run, for a Hub that does not take what it is sent
UPLOAD_S = 300.0  # at the end of a run, in all

T = TypeVar("T")


def within(seconds: float, ask: Callable[[], T]) -> T:
    """What `ask` returns or raises; NotNow where it takes longer, which the Hub's client would wait for for ever."""
    outcome: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            outcome.append(ask())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not outcome:
        raise NotNow(f"the Hub did not answer within {seconds:.0f} s")
    return outcome[0]


class BackgroundPush:
    """The thread is a daemon: whatever the Hub does, the process ends when it wants to, and the rest stays pending."""

    def __init__(self, run: Path, hub: Hub, config: HubConfig, echo: Callable[[str], None]) -> None:
        """run: a run's directory. say: told in one line what the person in front of it should know."""
        self.run, self.hub, self.config, self.echo = run, hub, config, echo
        self._changed = threading.Condition()
        self._planned = self._handled = 0
        self._closed = False
        self._finishing = threading.Event()
        self._deadline = float("inf")
        self._complained = False
        self._said = State.of(run).revision
        threading.Thread(target=self._work, name="push to the Hub", daemon=True).start()

    def submit(self, folder: Path) -> None:
        """Push this folder of the run, instead of one that is not on its way yet."""
        plan(self.run, folder, self.config)
        with self._changed:
            self._planned += 1
            self._changed.notify_all()

    def finish(self) -> State:
        """Wait for what is on its way, a bounded time; say and note in the summary what is where. The last call."""
        self._deadline = time.monotonic() + RETRIES_S
        self._finishing.set()
        if not self._done_within(2):
            self.echo(f"waiting for the Hub, {UPLOAD_S / 60:.0f} minutes at most")
        if not self._done_within(UPLOAD_S):
            give_up(self.run, f"it was not done {UPLOAD_S / 60:.0f} minutes after the end")
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        note_in_summary(self.run)
        state = State.of(self.run)
        if state.pending:
            beside = [] if self.run.parent == Path("runs") else [f"runs_dir={self.run.parent}"]
            where = shlex.join([f"run={self.run.name}", *beside])
            self.echo(f"not on the Hub yet: {state.pending} ({state.reason}); later: emote push {where}")
        return state

    def _done_within(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._handled == self._planned, seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._handled < self._planned or self._closed)
                taken = self._planned
                if self._handled == taken:
                    return
            try:
                push_patiently(self.run, self.hub, lambda: self._deadline, self._pause, self._complain)
                self._say_pushed()
                remove_old_snapshots(self.run)
            except ConfigError as error:
                self.echo(f"warning: not pushed: {error}")
            except Exception as error:  # a run of hours does not end for this, and the next push may do
                give_up(self.run, f"{type(error).__name__}: {error}")
                self.echo(f"warning: not pushed: {type(error).__name__}: {error}")
            with self._changed:
                self._handled = taken
                self._changed.notify_all()

    def _say_pushed(self) -> None:
        state = State.of(self.run)
        self._complained = self._complained and state.pending is not None
        if state.pending is None and state.revision != self._said:
            self._said = state.revision
            self.echo(
                f"on the Hub: {self.hub.address(state.repository)} has {state.pushed} ({str(state.revision)[:7]})"
            )

    def _complain(self, text: str) -> None:
        if not self._complained:
            self.echo(f"warning: {text}, and so on; nothing else waits for it")
            self._complained = True

    def _pause(self, seconds: float) -> None:
        if self._finishing.is_set():
            time.sleep(seconds)
        else:
            self._finishing.wait(seconds)  # the end of the run wakes it for another try
