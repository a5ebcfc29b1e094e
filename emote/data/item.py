"""One image with its caption, before anything is decoded; one that cannot be used; and all that a source found."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple


class Rendering(NamedTuple):
    """How the bytes of an image become pixels, where that is not the plain way.

    frame: of an animated image.  nearest: enlarged without blur.  fonts: an SVG's text is drawn with the machine's.
    odd: of a kind that was refused once, so that no cache may answer with that.
    """

    frame: int = 0
    nearest: bool = False
    fonts: bool = False
    odd: bool = False


PLAIN = Rendering()


@dataclass(frozen=True, slots=True)
class Item:
    """name: what messages call it; items of one file share it.  caption: the training prompt.

    concept: the unit of the held-out split.  read: returns the encoded bytes (SVG or any format of `images.FORMATS`);
    called late and more than once, so that a set of any size costs no memory. Raises OSError where they cannot be had.
    origin: where the caption came from.  repeats: how often it counts beside the others.
    """

    name: str
    caption: str
    concept: str
    read: Callable[[], bytes]
    origin: str = "metadata"
    repeats: float = 1.0
    rendering: Rendering = PLAIN


@dataclass(frozen=True, slots=True)
class Skipped:
    """What a source holds and cannot be used: what messages call it, and why.

    kind: the reason without what differs from one to the next, for counts; the reason itself where left out.
    is_file: False for what is no file of its own, such as a line of metadata.
    """

    name: str
    reason: str
    kind: str = ""
    is_file: bool = True

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class Tally:
    """Counts by sentence, with a few examples each. A sentence has `{n}` where the count stands."""

    EXAMPLES = 3

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}

    def add(self, sentence: str, example: str = "", number: int = 1) -> None:
        self._count[sentence] += number
        examples = self._examples.setdefault(sentence, [])
        if example and len(examples) < self.EXAMPLES and example not in examples:
            examples.append(example)

    def __iter__(self) -> Iterator[str]:
        for sentence, count in self._count.items():
            examples = self._examples[sentence]
            yield sentence.replace("{n}", f"{count:,}") + (f" (such as {', '.join(examples)})" if examples else "")


@dataclass
class Found:
    """Everything that a source holds.

    files: what else lies there beside the files of the images, by what it is; of a source that has no files, nothing.
    notes: what was read in another way than it stands there.  is_curated: its images need no looking at.
    licence: of the images, where the source states one.
    """

    items: list[Item] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    files: Counter[str] = field(default_factory=Counter)
    notes: Tally = field(default_factory=Tally)
    is_curated: bool = False
    licence: str | None = None


def content_key(data: bytes, rendering: Rendering = PLAIN) -> str:
    """What an image is, wherever it lies: SHA-256 in hex of its bytes, and of how they are drawn where not plainly."""
    content = hashlib.sha256(data).hexdigest()
    return content if rendering == PLAIN else hashlib.sha256(f"{content}:{tuple(rendering)}".encode()).hexdigest()
