"""A .csv or .jsonl whose images lie elsewhere."""

from __future__ import annotations

from emote.config import DataConfig
from emote.data.item import Found
from emote.data.table import table_items

PATH = "a .csv or .jsonl"  # what data.path must name


def read_source(data: DataConfig) -> Found:
    return table_items(data)
