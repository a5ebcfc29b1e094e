"""A dataset of the Hugging Face Hub, or a local directory in its layout."""

from __future__ import annotations

from emote.config import DataConfig
from emote.data.hub import hub_items
from emote.data.item import Found

PATH = "a dataset's name"  # what data.path must name


def read_source(data: DataConfig) -> Found:
    return hub_items(data)
