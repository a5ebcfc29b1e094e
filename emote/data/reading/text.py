"""Text as it stands in people's files to a caption: encodings, lines, emoji, and words that are taken literally."""

from __future__ import annotations

import codecs
import json
import re
import unicodedata
from typing import Any

from emote.data.naming import describe

MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
LITERAL = re.compile(r"\([^()]+:\s*\d*\.?\d+\)|\{[^{}]*\|[^{}]*\}|<(?:lora|lyco|hypernet):[^>]*>|\b__\w+__\b")
TEXT_KEYS = ("text", "caption", "captions", "prompt", "description", "tags", "accessibility_text", "title", "label")


def decode_text(data: bytes) -> tuple[str, str]:
    """Return text and its encoding: UTF-8, -16 or -32 by their marks, UTF-8, UTF-16 without a mark, and cp1252 at last.

    Raises ValueError for what is no text in any of them.
    """
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return _strict(data, encoding), "utf-8" if encoding == "utf-8-sig" else encoding
    if b"\0" in data:
        # in UTF-16 every second byte of Latin text is zero
        encoding = "utf-16-le" if data[1::2].count(0) >= data[::2].count(0) else "utf-16-be"
        return _strict(data, encoding), encoding
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return _strict(data, "cp1252"), "cp1252"


def _strict(data: bytes, encoding: str) -> str:
    text = data.decode(encoding)  # a UnicodeDecodeError is a ValueError
    odd = sum(unicodedata.category(c) in ("Cc", "Cn", "Cs", "Co") and c not in "\t\n\r\f\v" for c in text)
    if "\0" in text or odd > len(text) // 8:
        raise ValueError("it holds no text")
    return text


def join_lines(text: str) -> tuple[str, int]:
    """Return one caption of all lines, and how many had words: joined by a space after punctuation, else by a comma."""
    lines = [line for line in (line.strip() for line in text.splitlines()) if line]
    joined = ""
    for line in lines:
        joined += line if not joined else f" {line}" if joined[-1] in ".,;:!?" else f", {line}"
    return joined, len(lines)


def text_in_json(text: str, column: str) -> str | None:
    """Return the caption in a JSON object or list of tags; None where the text is no such JSON."""
    if text[:1] not in "{[":
        return None
    try:
        return text_of(json.loads(text), column)
    except (ValueError, RecursionError):
        return None


def text_of(value: Any, column: str) -> str | None:
    """Return the caption in a value of JSON: text, a list of tags, or an object with one under a usual key."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return ", ".join(part.strip() for part in value if part.strip())
    if isinstance(value, dict):
        for name in (column, *TEXT_KEYS):
            if (found := text_of(value[name], column) if name in value else None) is not None:
                return found
    return None


def name_emoji(text: str) -> str:
    """Emoji characters become their names, and a lone `:shortcode:` its words; other text stays as it is."""
    if re.fullmatch(r":[\w+-]+:", text):
        return describe(text)
    if text.isascii():
        return text
    import emoji

    if not emoji.emoji_count(text):
        return text
    named = emoji.replace_emoji(
        text, lambda found, entry: found if found in "©®™" else f" \0{describe(entry['en'])}\0 "
    )
    # emoji side by side are a list; one that is said twice in a row is said once
    named = re.sub(r"(\0[^\0]+\0)(?:\s*\1)+", r"\1", named)
    named = re.sub(r"\0\s+\0", ", ", named).replace("\0", "")
    return re.sub(r" +([,.;:!?])", r"\1", " ".join(named.split()))


def is_sound(text: str) -> bool:
    """Return whether it can be encoded: JSON may hold half of a surrogate pair, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
