"""Metadata, text files and exports alone."""

from __future__ import annotations

from emote.data.reading.clues import Clues


def find_words(image: Clues) -> tuple[list[str], str]:
    if image.metadata:
        return list(image.metadata), "metadata"
    if (text := image.text_file()) is not None:
        return [text], "text files"
    return list(image.exports), "exports"
