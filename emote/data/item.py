"""One image with its caption, before anything is decoded; and one that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """name: what messages call it.  caption: the training prompt.  concept: the unit of the held-out split.

    read: returns the encoded bytes (SVG or any format of `images.FORMATS`); called late and more than once,
    so that a set of any size costs no memory. Raises OSError where they cannot be had.
    """

    name: str
    caption: str
    concept: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Skipped:
    """What a source holds and cannot be used: what messages call it, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"
