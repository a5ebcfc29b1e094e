"""Metadata, then text files, exports, kohya's folder names, file names."""

from __future__ import annotations

from emote.data.captions import files, names
from emote.data.reading.clues import Clues


def find_words(image: Clues) -> tuple[list[str], str]:
    if (found := files.find_words(image))[0]:
        return found
    if image.kohya:
        return [image.kohya], "folder names"
    return names.find_words(image)
