"""The ways in which people ask for an emoji: its name, aliases, keywords, other word orders, synonyms.

The miniature learns them all, so that "happy cat" and "cat, smiling" are drawn and not only "grinning cat".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

MAX_WORDINGS = 10  # of one emoji, its name included
MAX_SHARED = 2  # a keyword that more emoji than this have says too little to stand alone

SYNONYMS: dict[str, tuple[str, ...]] = {
    "grinning": ("smiling", "happy", "laughing"),
    "smiling": ("happy", "smiling"),
    "beaming": ("happy", "smiling"),
    "crying": ("sad", "weeping"),
    "pouting": ("angry", "mad"),
    "weary": ("tired",),
    "pleading": ("begging",),
    "sleepy": ("tired",),
    "sleeping": ("asleep",),
    "kissing": ("kiss",),
    "winking": ("wink",),
    "angry": ("mad",),
    "worried": ("concerned",),
    "frowning": ("sad", "unhappy"),
    "nauseated": ("sick",),
    "hugging": ("hug",),
    "thinking": ("pondering",),
    "money-mouth": ("rich",),
    "automobile": ("car",),
    "bicycle": ("bike",),
    "airplane": ("plane",),
    "telephone": ("phone",),
    "television": ("tv",),
}
_PREPOSITIONS = frozenset(
    ("with", "of", "on", "in", "at", "to", "and", "or", "from", "over", "the", "for", "by", "without")
)
_ADJECTIVES = frozenset((
    "happy", "sad", "angry", "smiling", "laughing", "crying", "funny", "cute", "sick", "tired", "scared", "evil",
    "cool", "crazy", "sleepy", "hungry", "surprised", "shocked", "loving", "lovely", "silly", "red", "green",
    "blue", "yellow", "orange", "purple", "black", "white", "brown", "pink", "golden", "baby", "wild",
))  # fmt: skip


def list_wordings(
    names: Mapping[str, Sequence[str]], keywords: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """Name to its wordings, the name itself first; at most MAX_WORDINGS each.

    names: emoji name to aliases. keywords: emoji name to CLDR's keywords. A wording that is another emoji's
    name is left out; several emoji may share one, as "happy face", but keywords alone only where few do.
    """
    taken = {name.lower() for name in names}
    shared = Counter(keyword.lower() for name in names for keyword in set(keywords.get(name, ())))
    found: dict[str, tuple[str, ...]] = {}
    for name, aliases in names.items():
        candidates = [*aliases]
        if "skin tone" not in name:
            candidates += _reworded(name)
            candidates += [other for alias in aliases for other in _reworded(alias)]
            candidates += _described(name, keywords.get(name, ()))
            candidates += [
                k for k in keywords.get(name, ()) if len(k) > 3 and not k.isdigit() and shared[k.lower()] <= MAX_SHARED
            ]
        known = {name.lower()}
        kept = [name]
        for wording in candidates:
            spelled = " ".join(wording.split())
            if spelled.lower() not in known and spelled.lower() not in taken and len(kept) < MAX_WORDINGS:
                known.add(spelled.lower())
                kept.append(spelled)
        found[name] = tuple(kept)
    return found


def _reworded(name: str) -> list[str]:
    """Without "face", in the other order, with synonyms: "grinning cat" to "cat, grinning", "happy cat" and so on."""
    words = name.split()
    found = []
    for i, word in enumerate(words):
        for synonym in SYNONYMS.get(word.lower(), ()):
            found.append(" ".join([*words[:i], synonym, *words[i + 1 :]]))
    if len(words) > 1 and words[-1] == "face":
        found.append(" ".join(words[:-1]))
    elif len(words) > 1 and words[0].lower() in SYNONYMS and not _PREPOSITIONS & set(words):
        found.append(f"{name} face")
    plain = not _PREPOSITIONS & set(words) and "," not in name and ":" not in name
    if 2 <= len(words) <= 3 and plain and words[-1] != "face":
        found.append(f"{words[-1]}, {' '.join(words[:-1])}")
        found += [f"{words[-1]}, {' '.join([synonym, *words[1:-1]])}" for synonym in SYNONYMS.get(words[0].lower(), ())]
    return found


def _described(name: str, keywords: Sequence[str]) -> list[str]:
    """A keyword that is an adjective before what is drawn: "happy cat" where CLDR files the cat under "happy"."""
    words = re.sub(r"\bface\b", "", name).split()
    whole = name.lower().split()
    head = words[-1] if len(words) in (1, 2) else None
    if not head or _PREPOSITIONS & set(words):
        return []
    return [f"{k.lower()} {head}" for k in keywords if k.lower() in _ADJECTIVES and k.lower() not in whole]


SUBJECTS = ("grinning face", "crying face", "cat face", "fairy", "supervillain", "automobile",
            "Santa Claus", "monkey face", "giraffe", "red apple", "red heart", "robot")  # fmt: skip

FORMS = ("{}", "An emoji of {}", "An emoji of {article} {}")
STYLED = ", {style} style"


def write_caption(wording: str, form: int, style: str | None = None) -> str:
    """A whole caption: `form` counts FORMS; the style, where one is given, comes last."""
    article = "an" if wording[:1].lower() in "aeiou" else "a"
    caption = FORMS[form].format(wording, article=article)
    return caption if style is None else caption + STYLED.format(style=style)
