"""Where images with captions come from: one file a source, and one function that opens any."""

from __future__ import annotations

from emote.config import SOURCE, DataConfig
from emote.data.item import Item, Skipped


def open_source(data: DataConfig) -> tuple[list[Item], list[Skipped]]:
    """Everything that `data` names, undecoded, and what has no usable caption or image, with the reason.

    Raises ConfigError where the source itself cannot be used: a directory that does not exist, a data set
    that cannot be reached, a column that it lacks, a line of metadata that cannot be read.
    """
    return SOURCE.make(data.source, data.options)(data)
