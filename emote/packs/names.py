"""Shortcodes: names that every platform takes, made from prompts."""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator

SHORTEST, LONGEST = 2, 32  # Discord's; Slack and Telegram take them too
FOR_STANDARD = "emote"


def shortcodes(prompts: Iterable[str]) -> list[str]:
    """Return one name for each prompt, in order: 2 to 32 of a-z, 0-9 and _, all different.

    The same prompts give the same names: the second `a red fox` is `red_fox_2`. Words are kept whole where they fit,
    emoji become their names, and of a prompt without Latin letters a hash remains. What is the name of a standard
    emoji, which Slack refuses, gets a suffix: `fairy_emote`.
    """
    taken: dict[str, None] = {}  # keeps the order
    for prompt in prompts:
        taken[next(name for name in _candidates(prompt) if name not in taken and name not in _standard())] = None
    return list(taken)


def _candidates(prompt: str) -> Iterator[str]:
    name = _shortcode(prompt)
    if name in _standard():
        name = _with_suffix(name, FOR_STANDARD)
    yield name
    yield from (_with_suffix(name, str(number)) for number in itertools.count(2))


def _shortcode(prompt: str) -> str:
    import emoji

    words = emoji.demojize(prompt, delimiters=(" ", " "))
    plain = unicodedata.normalize("NFKD", words).encode("ascii", "ignore").decode().lower()
    name = _cut(re.sub(r"^(?:an?|the)_(?=.)", "", "_".join(re.findall(r"[a-z0-9]+", plain))), LONGEST)
    if len(name) < SHORTEST:
        digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()
        name = f"emote_{name}{digest[:6]}"
    return name


def _cut(name: str, length: int) -> str:
    """At most so long, between words unless the first is longer."""
    if len(name) <= length:
        return name
    whole, _, _ = name[: length + 1].rpartition("_")
    return whole or name[:length]


def _with_suffix(name: str, suffix: str) -> str:
    return f"{_cut(name, LONGEST - len(suffix) - 1)}_{suffix}"


@functools.cache
def _standard() -> frozenset[str]:
    """Names of standard emoji: those of Unicode and their aliases, which are near Slack's."""
    import emoji

    return frozenset(
        name.strip(":").lower()
        for entry in emoji.EMOJI_DATA.values()
        for name in (entry["en"], *entry.get("alias", ()))
    )
