"""A directory or .zip of your images, with captions in metadata, text files, an export's JSON, or their names."""

from __future__ import annotations

from emote.config import DataConfig
from emote.data.folder import folder_items
from emote.data.item import Found

PATH = "a directory with images"  # what data.path must name


def read_source(data: DataConfig) -> Found:
    return folder_items(data)
