"""File and folder names to words: `party_parrot`, `PartyParrot (2)` and `emoji_u1f600`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from emote.data.naming import TONE, catalogue, normalise_stem
from emote.data.reading.text import name_emoji

# What cameras, chats and programs call a file; a name that says no more says nothing of what it shows.
GENERIC = frozenset(
    [
        "a",
        "an",
        "and",
        "of",
        "the",
        "at",
        "to",
        "img",
        "image",
        "images",
        "whats",
        "app",
        "picture",
        "pictures",
        "pic",
        "photo",
        "foto",
        "photos",
        "dsc",
        "dscn",
        "dscf",
        "pxl",
        "mvimg",
        "vid",
        "gopr",
        "screenshot",
        "screen",
        "shot",
        "whatsapp",
        "telegram",
        "signal",
        "discord",
        "slack",
        "sticker",
        "stickers",
        "emoji",
        "emojis",
        "emote",
        "emotes",
        "icon",
        "icons",
        "untitled",
        "unnamed",
        "download",
        "downloads",
        "file",
        "frame",
        "copy",
        "final",
        "new",
        "scan",
        "unknown",
        "noname",
        "tmp",
        "temp",
        "output",
        "out",
        "sample",
        "train",
        "training",
        "test",
        "val",
        "data",
        "dataset",
        "set",
        "am",
        "pm",
    ]
)
_CODEPOINTS = re.compile(r"(?:emoji[_-]?)?(?:u\+?)?([0-9a-f]{2,6}(?:[-_](?:u\+?)?[0-9a-f]{2,6})*)", re.IGNORECASE)
_REPEATS = re.compile(r"(\d{1,4})_(.*\S.*)")


def words_of(stem: str, codepoints: bool = False) -> str:
    """Return the words of a name in lower case, without numbers, identifiers and sizes; nothing where it says nothing.

    codepoints: names such as `2600` are of emoji too, as where others are called `1f600`.
    """
    if found := emoji_of(stem, codepoints):
        return found
    text = name_emoji(unicodedata.normalize("NFC", stem))
    text = re.sub(r"\(\d+\)|@\dx\b|\b\d+\s*x\s*\d+\b|\b\d+px\b", " ", text, flags=re.IGNORECASE)
    text = re.sub(r"[^\w',]|_", " ", text)
    text = re.sub(r"(?<=\w) +copy *$", "", text, flags=re.IGNORECASE)
    text = re.sub(r"(?<=[a-zß-ÿ])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text).lower()
    words = [word for part in text.split() if (word := _word(part))]
    if all(word.strip(",") in GENERIC for word in words):
        return ""
    return re.sub(rf"(?<![,]) (?={TONE})", ", ", " ".join(words)).strip(" ,")


def _word(part: str) -> str:
    if re.search(r"\d", part) and re.fullmatch(r"[0-9a-f]{8,}|\d+,?", part):
        return ""  # a number, or an identifier
    return re.sub(r"(?<=[^\W\d]{3})\d+$", "", part)


def emoji_of(stem: str, codepoints: bool) -> str:
    """Return the name of the emoji whose code points a file is called by; nothing for other names."""
    if not (match := _CODEPOINTS.fullmatch(stem)):
        return ""
    if not codepoints and not is_codepoints(stem):
        return ""
    entry = catalogue().get(normalise_stem(re.sub(r"u\+?", "", match[1].lower()).replace("_", "-")))
    return entry[0] if entry else ""


def is_codepoints(stem: str) -> bool:
    """Return whether a name can be nothing but code points: 2600 may also be a number."""
    return bool(_CODEPOINTS.fullmatch(stem)) and not re.fullmatch(r"\d+|[a-f]+", stem, re.IGNORECASE)


def any_codepoints(stems: Iterable[str]) -> bool:
    return any(is_codepoints(stem) and emoji_of(stem, False) for stem in stems)


def repeats_of(folders: Iterable[str]) -> tuple[int, str] | None:
    """(repeats, words) of the innermost folder that is called as kohya's scripts have it, such as `20_grumpy cat`."""
    for folder in reversed(list(folders)):
        match = _REPEATS.fullmatch(folder)
        if match and 1 <= int(match[1]) <= 1000:  # above it, more likely a year
            return int(match[1]), words_of(match[2])
    return None
