"""None: data.caption as it stands, for all images."""

from __future__ import annotations

from collections.abc import Iterator

from emote.config import DataConfig
from emote.data.reading.clues import Clues

READS_TABLES = False


def find_words(image: Clues) -> tuple[list[str], str]:
    return [image.file_name], "one for all"


def problems(data: DataConfig) -> Iterator[str]:
    if "{text}" in data.caption and not data.trigger:
        yield (
            f"data.captions=one gives all images one caption, and data.caption={data.caption!r} has {{text}}; set "
            "data.caption='an emoji in myblob style', or data.trigger=myblob"
        )
