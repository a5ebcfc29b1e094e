"""What the controls of the Train tab do. Nothing here knows where on the page they are."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from emote.demo import train_markup
from emote.demo.notices import Noted
from emote.demo.session import Session, Sessions
from emote.demo.train_settings import BASES, Settings, data_words, train_words
from emote.demo.training import FINISHED, STOPPING, State, Training
from emote.demo.uploads import keep_upload
from emote.util.errors import ConfigError

LOOKING_S = 900  # for `emote data check`
NO_FOLDERS = (
    "Your browser does not tell in which sub-folders the files lie, so all were put into one; a zip of the folder "
    "keeps them."
)


class TrainHandlers:
    """more: words for every training, from the command line of the demo. folder: what the page may read."""

    def __init__(self, training: Training, sessions: Sessions, folder: Path, more: list[str]) -> None:
        self.training, self.sessions, self.more = training, sessions, more
        self._shown = folder / secrets.token_hex(16)

    def session(self, request: gr.Request) -> Session:
        return self.sessions.of(str(request.session_hash))

    def look_folder(
        self, files: list[str] | None, told: str | None, trigger: str, request: gr.Request
    ) -> tuple[Any, ...] | Noted:
        """As `look`. told: in JSON the path of each file within the folder that was chosen."""
        try:
            paths = [str(path) for path in json.loads(told or "[]")]
        except (ValueError, TypeError, RecursionError):
            paths = []
        found = self.look(files, trigger, request, paths)
        return found if paths else Noted(found, NO_FOLDERS)

    def look(
        self, files: list[str] | str | None, trigger: str, request: gr.Request, paths: Sequence[str] = ()
    ) -> tuple[Any, ...]:
        """Keep what was uploaded, and say what it holds: (found, emptied file box)."""
        arrived = [Path(file) for file in ([files] if isinstance(files, str) else files or [])]
        session = self.session(request)
        try:
            session.upload = keep_upload(arrived, self.training.runs_dir, paths)
        except FileNotFoundError as error:  # taken by another page that has sent the same
            raise ConfigError("the same files arrived twice at the same time; send them again") from error
        for file in arrived:
            file.unlink(missing_ok=True)  # a copy: it is kept beside the runs
        out = session.folder / secrets.token_hex(8)
        words = [f"experiment={next(iter(BASES.values()))}", *data_words(session.upload, trigger), *self.more]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "emote", "data", "check", *words, f"output={out}"],
                capture_output=True, text=True, errors="replace", timeout=LOOKING_S, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise ConfigError(f"looking at the images took more than {LOOKING_S // 60} minutes; try fewer") from error
        report = out / "data.txt"
        if not report.is_file():
            session.upload = None
            raise ConfigError(done.stderr.strip().removeprefix("error: ") or "nothing usable was found")
        text = "\n".join(line for line in done.stdout.splitlines() if str(out) not in line)
        sheet = out / "data.png"
        return train_markup.found(text, sheet if sheet.is_file() else None), None

    def begin(
        self, name: str, trigger: str, base: str, steps: float | None, prompts: str, request: gr.Request
    ) -> tuple[Any, ...]:
        session = self.session(request)
        if session.upload is None:
            raise ConfigError("there are no images yet: drop some, a folder or a zip, into the box above")
        settings = Settings(name, trigger, base, int(steps or 0), prompts)
        self.training.start(train_words(settings, session.upload, self.training.runs_dir, self.more), settings.steps)
        return self.show(request)

    def stop(self, request: gr.Request) -> tuple[Any, ...]:
        self.training.stop()
        return self.show(request)

    def go_on(self, request: gr.Request) -> tuple[Any, ...]:
        self.training.go_on()
        return self.show(request)

    def show(self, request: gr.Request) -> tuple[Any, ...]:
        """(status, start, stop, go on, draw with it): how the training stands, the buttons that have a meaning."""
        state = self.training.state()
        going = state is not None and state.is_going
        kind = state.kind if state else None
        return (
            train_markup.status(state, self._sample(state)),
            gr.Button(visible=not going),
            gr.Button(visible=going, interactive=kind != STOPPING),
            gr.Button(visible=state is not None and not going and kind != FINISHED),
            gr.Button(visible=kind == FINISHED),
        )

    def tick(self, request: gr.Request) -> tuple[Any, ...]:
        """As `show`, or nothing where nothing has changed since this page was told."""
        session, state = self.session(request), self.training.state()
        if session.told == state:
            return (gr.skip(),) * 5
        session.told = state
        return self.show(request)

    def label(self) -> str:
        """Return what the list of models calls the run that is finished."""
        state = self.training.state()
        if state is None or state.kind != FINISHED or state.run is None:
            raise ConfigError("no training of this page is finished yet")
        return f"{state.run}/{state.steps}"

    def _sample(self, state: State | None) -> Path | None:
        """Return the newest image of the run where the page may read it."""
        if state is None or state.samples is None:
            return None
        copy = self._shown / f"{state.run}-{state.samples.parent.name}-{state.samples.name}"
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(state.samples, copy)
        return copy
