"""The name of the folder that an image lies in."""

from __future__ import annotations

from emote.data.reading.clues import Clues

READS_TABLES = False


def find_words(image: Clues) -> tuple[list[str], str]:
    return [image.folder] if image.folder else [], "folder names"
