"""A directory of your images, with captions in metadata.jsonl, metadata.csv or text files."""

from __future__ import annotations

from emote.config import DataConfig
from emote.data.folder import folder_items
from emote.data.item import Item, Skipped

PATH = "a directory with images"  # what data.path must name


def read_source(data: DataConfig) -> tuple[list[Item], list[Skipped]]:
    return folder_items(data.path, data.text_column, data.caption)
