"""What an emoji is called, and which emoji are the same concept."""

from __future__ import annotations

import functools
import re
import unicodedata

TONE = r"(?:medium-light|medium-dark|light|medium|dark) skin tone"
_TONE = re.compile(rf",? *\b{TONE}\b")
_HAIR = re.compile(r",? *\b(?:red hair|curly hair|white hair|blond hair|bald)\b")
_PEOPLE = re.compile(r"\b(?:man|men|woman|women|person|people|boy|boys|girl|girls|child|adult|male|female)\b")
_ROLES = re.compile(r"\b(mer)(?:man|maid|person)\b|\b(police|fire)(?:man|woman)\b")
_STYLE = re.compile(r",? *\b\w+ style$")


def describe(short_name: str) -> str:
    """`:astronaut_medium_skin_tone:` to `astronaut, medium skin tone`."""
    words = short_name.strip(":").replace("_", " ")
    return re.sub(rf"(?<!^) (?={TONE})", ", ", words)


def concept_of(caption: str) -> str:
    """Return the caption without skin tone, hair and gender: emoji with one concept stay on one side of a split."""
    text = _STYLE.sub("", unicodedata.normalize("NFC", caption).lower().strip())
    text = re.sub(r"^an emoji of +", "", text)
    bare = _ROLES.sub(lambda m: m.group(1) or m.group(2), _HAIR.sub("", _TONE.sub("", text)))
    bare = re.sub(r"[^\w']+", " ", _PEOPLE.sub(" ", bare)).strip()
    return re.sub(r" +", " ", bare) or "person"


@functools.cache
def catalogue() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Normalised codepoints (`1F9D1-200D-1F680`) to (name, aliases), for every emoji but flags and components.

    Flags are left out: they are 258 rectangles whose name says nothing about the drawing.
    Names are the Unicode CLDR short names as the `emoji` package holds them.
    """
    import emoji

    found = {}
    for character, entry in emoji.EMOJI_DATA.items():
        if entry["status"] != emoji.STATUS["fully_qualified"] or _is_flag(character):
            continue
        aliases = tuple(describe(alias) for alias in entry.get("alias", ()))
        found[codepoints(character)] = (describe(entry["en"]), aliases)
    return found


def codepoints(character: str) -> str:
    return normalise_stem("-".join(f"{ord(c):X}" for c in character))


def normalise_stem(stem: str) -> str:
    """Return one key for a file's stem in OpenMoji's (`0023-FE0F-20E3`) or Twemoji's (`23-20e3`) spelling to one key.

    The variation selector FE0F is optional in practice, so it is dropped.
    """
    parts = (part.lstrip("0") for part in stem.upper().split("-"))
    return "-".join(part for part in parts if part != "FE0F")


def _is_flag(character: str) -> bool:
    first = ord(character[0])
    return 0x1F1E6 <= first <= 0x1F1FF or any(0xE0020 <= ord(c) <= 0xE007F for c in character)
