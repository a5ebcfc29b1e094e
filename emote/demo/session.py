"""What one visitor of the page has made: drawings, a pack, and the files that show them."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from PIL import Image

from emote.demo.catalogue import Choice
from emote.demo.live.state import Typed
from emote.demo.training import State
from emote.imaging.cutout import cut_out
from emote.imaging.fitting import fit
from emote.inference.output import slug
from emote.inference.png_metadata import CHUNK, save_png
from emote.inference.request import Request
from emote.packs.names import shortcodes
from emote.packs.pack import PackItem, write_pack
from emote.util.errors import ConfigError

SMALL_PX = 64  # emoji within text, sharp on screens with two pixels a point
LONGEST_NAME = 100  # letters that are typed; a shortcode has at most 32
MOST_OVERTAKEN = 32  # drawings that were cancelled before they arrived
KEPT_AFTER_LEAVING_S = 3600.0  # a phone that was put away comes back


@dataclass(frozen=True)
class Drawing:
    """One prompt from one noise: by the base model and, where there is an adapter, by the fine-tuned one.

    words: what was typed, before the template. base: None for what was drawn while typing. draft: which of these it is.
    """

    words: str
    request: Request
    choice: Choice
    base: Image.Image | None
    tuned: Image.Image | None
    draft: int = 0

    @cached_property
    def base_cut(self) -> Image.Image | None:
        return cut_out(self.base) if self.base else None

    @cached_property
    def tuned_cut(self) -> Image.Image | None:
        return cut_out(self.tuned) if self.tuned else None

    def image(self, kind: str, transparent: bool) -> Image.Image:
        """kind: base or tuned."""
        image = getattr(self, f"{kind}_cut" if transparent else kind)
        assert isinstance(image, Image.Image), f"there is no {kind} image"
        return image

    @property
    def result(self) -> str:
        """The kind that the visitor came for."""
        return "tuned" if self.tuned else "base"


@dataclass(frozen=True)
class Packed:
    """An emoji of the pack, and a small image of it."""

    item: PackItem
    file: Path


class Session:
    """One visitor: the drawings, which of them is on the stage, and its pack. `folder` is its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.drawings: list[Drawing] = []
        self.shown: int | None = None
        self.pack: dict[int, Packed] = {}  # by the drawing's number
        self.open: set[str] = set()  # the pages that show it
        self.fetched: dict[str, Choice] = {}  # adapters that this visitor got from the Hub
        self.upload: Path | None = None  # what is to be trained on
        self.told: State | None = None  # how the training stood when this page was told
        self.left_at: float | None = None
        self.typed: Typed | None = None  # what is drawn while the visitor types
        self.refined: Typed | None = None  # what of it was drawn again in more steps
        self._newest = 0.0  # of what was typed
        self._drafts = 0
        self._typing = threading.Event()
        self._ticket, self._cancelled = "", threading.Event()
        self._overtaken: deque[str] = deque(maxlen=MOST_OVERTAKEN)
        self._changing = threading.Lock()
        self._saving = threading.Lock()

    @property
    def token(self) -> str:
        """What its browser keeps, to find it again."""
        return self.folder.name

    def begin(self, ticket: str = "") -> threading.Event:
        """Return the event that `cancel` sets for the drawing that begins now, by the name that its page gave it.

        What is drawn while the visitor types is superseded.
        """
        with self._changing:
            self._typing.set()
            self._ticket, self._cancelled = ticket, threading.Event()
            if ticket in self._overtaken:
                self._cancelled.set()
            return self._cancelled

    def cancel(self, ticket: str = "") -> None:
        """Stop a drawing, also one whose request arrives after this; without a ticket, the one that is under way."""
        with self._changing:
            if ticket and ticket != self._ticket:
                self._overtaken.append(ticket)
            else:
                self._cancelled.set()
            self._typing.set()

    def begin_typed(self, number: float | None) -> threading.Event | None:
        """Return the event that the next such drawing sets; None where something that was typed later is there already.

        number: when it was typed, by the browser's clock; None: now.
        """
        with self._changing:
            if number is not None and float(number) < self._newest:
                return None
            self._newest = self._newest if number is None else float(number)
            self._typing.set()
            self._typing = threading.Event()
            return self._typing

    def add(self, drawing: Drawing) -> None:
        self.drawings.append(drawing)
        self.shown = len(self.drawings) - 1

    def add_draft(self, drawing: Drawing) -> None:
        """Keep what was drawn while typing, in the place of the one before, unless that one is in the pack."""
        self._drafts += 1
        drawing = replace(drawing, draft=self._drafts)
        last = len(self.drawings) - 1
        if self.drawings and self.drawings[last].draft and last not in self.pack:
            self.drawings[last] = drawing
            self.shown = last
        else:
            self.add(drawing)

    def draft_file(self, typed: Typed, seed: int) -> Path:
        """Return a PNG of what was drawn while typing."""
        image = typed.images[seed]
        file = self.folder / f"typed-{hashlib.sha256(image.tobytes()).hexdigest()[:16]}.png"
        with self._saving:
            if not file.exists():
                save_png(image, file)
        return file

    def file(self, number: int, kind: str, transparent: bool) -> Path:
        """Return a PNG of one of its images, which says how it was drawn. kind: base, tuned or small."""
        drawing = self.drawings[number]
        draft = f"-draft{drawing.draft}" if drawing.draft else ""
        file = self.folder / f"{number:03d}{draft}-{kind}{'-cut' if transparent else ''}.png"
        with self._saving:
            if not file.exists():
                if kind == "small":
                    image = small(drawing.image(drawing.result, transparent), transparent)
                else:
                    image = drawing.image(kind, transparent)
                save_png(image, file, getattr(drawing, drawing.result if kind == "small" else kind).info.get(CHUNK))
        return file

    def add_to_pack(self, number: int, transparent: bool) -> None:
        """Put the result in as it is shown; again for the same drawing replaces it.

        Raises ConfigError where nothing was left when the background was cut away.
        """
        drawing = self.drawings[number]
        image = drawing.image(drawing.result, transparent).convert("RGBA")
        fit(image, 1, is_square=True)
        item = PackItem(
            prompt=drawing.words,
            seed=drawing.request.seed,
            image=image,
            model=drawing.choice.label if drawing.tuned else drawing.choice.model.path,
            licence=drawing.choice.licence,
        )
        self.pack[number] = Packed(item, self.file(number, "small", transparent))

    def take_out(self, place: int) -> None:
        for number in list(self.pack)[place : place + 1]:
            del self.pack[number]

    def rename(self, place: int, name: str) -> None:
        """Make the shortcode of other words than the prompt's; none at all are the prompt's again."""
        for number in list(self.pack)[place : place + 1]:
            packed = self.pack[number]
            self.pack[number] = replace(packed, item=replace(packed.item, name=name.strip()[:LONGEST_NAME] or None))

    def names(self) -> list[str]:
        """Return the shortcodes that the pack's emoji will have."""
        return shortcodes(packed.item.name or packed.item.prompt for packed in self.pack.values())

    def write_pack(self, platform: str) -> Path:
        """Return the zip for one platform. Raises ConfigError for an empty pack, and where a limit cannot be met."""
        if not self.pack:
            raise ConfigError("the pack is empty; add an image first")
        (written,) = write_pack([packed.item for packed in self.pack.values()], [platform], self.folder / "packs")
        return written.replace(written.with_name(f"emoji-{platform}.zip"))


class Sessions:
    """The visitors by the name that Gradio gives an open page. root: where their folders go."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._sessions: dict[str, Session] = {}
        self._changing = threading.Lock()

    def of(self, name: str, token: str = "") -> Session:
        """Return the session of an open page; token: of the session that this browser had before it was reloaded."""
        with self._changing:
            session = self._sessions.get(name) or self._with(token)
            if session is None:
                folder = self.root / secrets.token_hex(16)  # pages can read files whose names they know
                folder.mkdir(parents=True)
                session = Session(folder)
            self._sessions[name] = session
            session.open.add(name)
            session.left_at = None
            return session

    def _with(self, token: str) -> Session | None:
        return next((session for session in self._sessions.values() if token and session.token == token), None)

    def leave(self, name: str) -> None:
        """The page was closed, or lost its connection: stop drawing; forget those that left long ago."""
        now = time.monotonic()
        with self._changing:
            if session := self._sessions.get(name):
                session.open.discard(name)
                if not session.open:
                    session.cancel()
                    session.left_at = now
            gone = [
                other for other, v in self._sessions.items() if v.left_at and now - v.left_at > KEPT_AFTER_LEAVING_S
            ]
            for other in gone:
                shutil.rmtree(self._sessions.pop(other).folder, ignore_errors=True)

    def cancel_all(self) -> None:
        for session in list(self._sessions.values()):
            session.cancel()


def small(image: Image.Image, transparent: bool) -> Image.Image:
    """For use within text: as it will be in a pack, or the whole image where it was not cut out."""
    if transparent:
        with suppress(ConfigError):  # nothing is visible
            return fit(image, SMALL_PX, is_square=True)
    return image.resize((SMALL_PX, SMALL_PX), Image.Resampling.LANCZOS)


def file_name(words: str, seed: int, kind: str = "") -> str:
    """Return what a saved image is called."""
    return "-".join(filter(None, (slug(words), str(seed), kind))) + ".png"
