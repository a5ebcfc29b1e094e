"""JSON that other programs write beside images: exports of chats, sticker sets, captions by file name.

Slack has names to addresses and aliases, Discord objects with `id` and `name`, Telegram stickers in order, WhatsApp
`image_file` and `emojis`, kohya names to captions. They are not told apart: any object that refers to an image which
lies there, and says what it is called, is a row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from emote.data.reading.files import stem_of
from emote.data.reading.lookup import Lookup, without_suffix
from emote.data.reading.names import words_of
from emote.data.reading.tables import FILE_KEYS, Row
from emote.data.reading.text import TEXT_KEYS, decode_text, is_sound, name_emoji, text_of

REFERENCES = (*FILE_KEYS, "id", "file_id", "file_unique_id", "name", "shortcode", "short_name", "alias_for", "url")
NAMES = ("name", "short_name", "shortcode", "short_names", "keywords")
EMOJI = ("emoji", "emojis")
DEEPEST = 20
ALIAS = "alias:"


def export_rows(data: bytes, path: str, images: Lookup, column: str) -> list[Row]:
    """Return every row of a JSON file that names one of the images; none where it is no such file.

    path: its relative name; images beside it go before others of the same name.
    """
    try:
        value = json.loads(decode_text(data)[0])
    except (ValueError, RecursionError):
        return []
    folder = str(PurePosixPath(path).parent)
    found = list(_walk(value, images, folder, column, 0))
    own = images.find(without_suffix(path))
    if not found and own and (text := text_of(value, column)):
        found = [(own, [text])]  # cat.json, or cat.png.json, beside cat.png
    return [Row(path, name, tuple(texts)) for name, texts in found if all(map(is_sound, texts))]


def _walk(value: Any, images: Lookup, folder: str, column: str, depth: int) -> Iterator[tuple[str, list[str]]]:
    if depth > DEEPEST:
        return
    if isinstance(value, list):
        entries = [entry for entry in value if isinstance(entry, dict)]
        named = [found for entry in entries if (found := _entry(entry, images, folder, column))]
        if named or not entries:
            yield from named
        elif not any(isinstance(inner, list) and dict in map(type, inner) for e in entries for inner in e.values()):
            yield from _by_number(entries, images, folder, column)  # lists of lists are packs, not stickers
        if not named:
            for entry in value:
                yield from _walk(entry, images, folder, column, depth + 1)
    elif isinstance(value, dict):
        if found := _entry(value, images, folder, column):
            yield found
            return
        for name, inner in value.items():
            if found := _pair(str(name), inner, images, folder, column):
                yield found
            elif isinstance(inner, (dict, list)):
                yield from _walk(inner, images, folder, column, depth + 1)


def _entry(entry: dict[str, Any], images: Lookup, folder: str, column: str) -> tuple[str, list[str]] | None:
    """An object that refers to an image and says what it is."""
    for key in REFERENCES:
        value = entry.get(key)
        if (
            isinstance(value, (str, int))
            and not isinstance(value, bool)
            and (name := _find(str(value), images, folder))
            and (texts := _texts(entry, column))
        ):
            return name, texts
    return None


def _pair(name: str, value: Any, images: Lookup, folder: str, column: str) -> tuple[str, list[str]] | None:
    """Slack's `"party": "https://…"` or `"alias:parrot"`, kohya's `"a.png": "a caption"` or an object."""
    if isinstance(value, str) and value.startswith(ALIAS):
        target = images.find(value.removeprefix(ALIAS), folder, anywhere=True)
        return (target, [words_of(name)]) if target and words_of(name) else None
    if not (target := images.find(name, folder, anywhere=True)):
        return None
    if isinstance(value, str) and re.match(r"https?:|data:", value):
        text = words_of(stem_of(name))
    else:
        text = text_of(value, column) or (words_of(stem_of(name)) if isinstance(value, dict) else "")
    return (target, [text]) if text else None


def _by_number(
    entries: list[dict[str, Any]], images: Lookup, folder: str, column: str
) -> Iterator[tuple[str, list[str]]]:
    """Stickers in order, and images called by their place in it: sticker_0.webp, or from 1 on."""
    by_number: dict[int, str] = {}
    for name in images.inside(folder):
        if match := re.search(r"(\d{1,4})$", stem_of(name)):
            by_number.setdefault(int(match[1]), name)
    first = 0 if 0 in by_number else 1
    if not by_number or max(by_number) >= len(entries) + first:
        return
    for number, entry in enumerate(entries, first):
        if number in by_number and (texts := _texts(entry, column)):
            yield by_number[number], texts


def _texts(entry: dict[str, Any], column: str) -> list[str]:
    for key in (column, *TEXT_KEYS):
        if key in entry and (text := text_of(entry[key], column)):
            return [text]
    for key in NAMES:
        value = entry.get(key)
        if words := [text for one in (value if isinstance(value, list) else [value])
                     if isinstance(one, str) and (text := words_of(stem_of(one)))]:  # fmt: skip
            return [", ".join(words)]
    for key in EMOJI:
        value = entry.get(key)
        if text := name_emoji("".join(value) if isinstance(value, list) and all(isinstance(v, str) for v in value)
                              else value if isinstance(value, str) else ""):  # fmt: skip
            return [text]
    return []


def _find(reference: str, images: Lookup, folder: str) -> str | None:
    if reference.startswith(("http:", "https:")):
        reference = PurePosixPath(urlsplit(reference).path).name
    return images.find(reference, folder, anywhere=True) if reference and len(reference) < 1000 else None
