"""Where images with captions come from: one function that opens any source."""

from __future__ import annotations

from emote.config import DataConfig, Source
from emote.data.art import art_items
from emote.data.folder import folder_items
from emote.data.hub import hub_items
from emote.data.item import Found
from emote.data.table import table_items


def open_source(data: DataConfig) -> Found:
    """Everything that `data` names, undecoded, and what has no usable caption or image, with the reason.

    Raises ConfigError where the source itself cannot be used: a directory that does not exist, a data set
    that cannot be reached, a column that it lacks, a line of metadata that cannot be read.
    """
    if data.source is Source.folder:
        return folder_items(data)
    if data.source is Source.table:
        return table_items(data)
    if data.source is Source.hub:
        return hub_items(data)
    return Found(art_items(data.source.name, data.caption), is_curated=True)
