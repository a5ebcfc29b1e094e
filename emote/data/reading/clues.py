"""What lies around an image and may say what it shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Clues:
    """The clues of one image, as words that can be said.

    name: its path inside the folder.  metadata, exports: captions that tables and JSON give it.
    text_file: returns the caption of the text file beside it, None where there is none; a file that is asked for
    counts as used.  kohya: words of a folder such as `20_grumpy cat`, folder: of the nearest one that says something.
    file_name: words of its own name; "" where it says nothing.  needed: whether the caption has a place for words.
    """

    name: str
    metadata: Sequence[str]
    exports: Sequence[str]
    text_file: Callable[[], str | None]
    kohya: str
    folder: str
    file_name: str
    needed: bool
    read: Callable[[], bytes]
