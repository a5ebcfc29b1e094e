"""A run's pushes to the Hub: checked before anything is loaded, done in the background, waited for at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from emote.config import Config
from emote.hub.background import BackgroundPush, within
from emote.hub.client import Hub, NotNow
from emote.hub.push import State
from emote.runs.run_folder import identity_of
from emote.util.console import echo

CHECK_S = 20.0  # that a run waits for the Hub before it starts without it


class ToHub:
    def __init__(self, config: Config, command: list[str]) -> None:
        """command: the words of the command line, for the record."""
        self.config, self.command = config.hub, command
        self.hub = Hub()
        self._pushes: BackgroundPush | None = None
        self._warned = False

    def check(self) -> None:
        """Token, permission, the repository's name; a Hub that cannot say is warned of. Raises ConfigError."""
        self._ask(lambda: self.hub.check(self.config))

    def begin(self, run: Path) -> None:
        """The run is known now: see to its repository, and push what an earlier process left. Raises ConfigError."""
        state = State.of(run)
        if self.config.repo is None and state.repository is None:
            self._ask(lambda: self.hub.prepare(self.hub.name_for(self.config, run.name), self.config.private))
        elif self.config.repo is not None and state.pushed is None:
            self._ask(lambda: self._note_another_run(str(self.config.repo), run.name))
        self._pushes = BackgroundPush(run, self.hub, self.config, echo)
        if state.pending and (run / state.pending).is_dir():
            self._pushes.submit(run / state.pending)

    def submit(self, folder: Path) -> None:
        """Push a folder of the run as soon as may be; returns at once."""
        assert self._pushes
        self._pushes.submit(folder)

    def finish(self) -> None:
        """Wait a bounded time, and say what is where."""
        assert self._pushes
        self._pushes.finish()

    def _note_another_run(self, repository: str, run: str) -> None:
        there = self.hub.run_in(repository)
        if there and identity_of(there) != identity_of(run):
            echo(
                f"note: {repository} holds run {there}; what this run pushes comes on top of it, in commits of its own"
            )

    def _ask(self, question: Callable[[], None]) -> None:
        try:
            within(CHECK_S, question)
        except NotNow as error:
            if not self._warned:
                echo(f"warning: {error}; training starts all the same, and is pushed when the Hub can be reached")
            self._warned = True


def start_pushes(config: Config, command: list[str]) -> ToHub | None:
    """None where nothing is to be pushed. Raises ConfigError for what the user must mend, before anything is loaded."""
    if not config.hub.push:
        return None
    pushes = ToHub(config, command)
    pushes.check()
    return pushes
