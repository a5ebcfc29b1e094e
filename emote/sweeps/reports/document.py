"""What a report says, before it is a page or Markdown: both are made from this, so they say the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Text:
    """A paragraph; `code` between backticks."""

    text: str


@dataclass(frozen=True)
class Code:
    text: str


@dataclass(frozen=True)
class Table:
    """shades: of each cell from 0 to 1, None for none; by rows."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    shades: Sequence[Sequence[float | None]] | None = None


@dataclass(frozen=True)
class Drawing:
    """An SVG, and the file beside the report that Markdown shows. narrow: the same for a phone; "" where it fits."""

    file: str
    svg: str
    about: str
    narrow: str = ""


@dataclass(frozen=True)
class Sheet:
    """One prompt with one seed: an image for each row and column, None where there is none yet."""

    file: str
    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Path | None]]]


Block = Text | Code | Table | Drawing | Sheet


@dataclass(frozen=True)
class Section:
    title: str
    blocks: list[Block]


@dataclass(frozen=True)
class Document:
    title: str
    summary: list[Block]
    sections: list[Section] = field(default_factory=list)
