"""From the words of an image to the caption that is trained."""

from __future__ import annotations

import re

from emote.config import DataConfig
from emote.data.item import Tally
from emote.data.reading.text import LITERAL, join_lines, name_emoji

LINES = "{n} captions stood in several lines, which were joined"
EMOJI = "in {n} captions emoji characters became their names"
WEIGHTS = "{n} captions hold signs such as (word:1.3), {a|b} or <lora:…>, which are taken literally"


def spoken(text: str, notes: Tally, name: str, in_file: bool = False) -> str:
    """Return the words of a caption from text; what changes is noted. in_file: all lines of it are joined."""
    joined = text.strip()
    if in_file:
        joined, lines = join_lines(text)
        if lines > 1:
            notes.add(LINES, name)
    words = name_emoji(joined)
    if words != joined and not re.fullmatch(r":[\w+-]+:", joined):
        notes.add(EMOJI, name)
    if LITERAL.search(words):
        notes.add(WEIGHTS, name)
    return words


def caption_of(data: DataConfig, text: str, **more: str) -> str:
    """Return the training prompt of an image: `data.caption` with its words. The trigger word stands once."""
    if data.trigger and data.trigger.lower() in text.lower():
        text = re.sub(rf"\s*{re.escape(data.trigger)}\b[\s,]*", " ", text, flags=re.IGNORECASE).strip(" ,")
    caption = data.caption.format(text=text, **more)
    return caption if text else " ".join(caption.split()).strip(" ,")


def needs_words(data: DataConfig) -> bool:
    """Return whether captions are made of each image's own words."""
    return "{text}" in data.caption and data.captions != "one"
