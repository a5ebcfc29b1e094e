"""Each file's own name."""

from __future__ import annotations

from emote.data.reading.clues import Clues

READS_TABLES = False


def find_words(image: Clues) -> tuple[list[str], str]:
    return [image.file_name] if image.file_name or not image.needed else [], "file names"
