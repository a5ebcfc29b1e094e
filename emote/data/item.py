"""One picture with its caption, before anything is decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """name: what messages call it.  caption: the training prompt.  concept: the unit of the held-out split.

    read: returns the encoded bytes (SVG or any format Pillow opens); called late and more than once,
    so that a set of any size costs no memory.
    """

    name: str
    caption: str
    concept: str
    read: Callable[[], bytes]
