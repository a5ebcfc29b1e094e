"""Where images with captions come from: one file a source, and one function that opens any."""

from __future__ import annotations

from emote.config import SOURCE, DataConfig
from emote.data.item import Found


def open_source(data: DataConfig) -> Found:
    """Everything that `data` names, undecoded, and what has no usable caption or image, with the reason.

    A source may also return (items, skipped) alone. Raises ConfigError where it cannot be used: a directory that does
    not exist, a data set that cannot be reached, a column that it lacks, a line of metadata that cannot be read.
    """
    found = SOURCE.make(data.source, data.options)(data)
    return found if isinstance(found, Found) else Found(*found)
