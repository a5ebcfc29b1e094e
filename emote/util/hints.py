"""The nearest valid name to what was typed, and the sentences that name it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_HUB = r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/(?:datasets/)?"
_NAME, _IN_IT = r"[\w.-]+", r"(?:/(?:blob|resolve|tree)/[^/?#]+(/[^?#]+)?)?"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the most similar of the known names; None where none is similar."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return found[0] if found else None


def did_you_mean(guess: str | None) -> str:
    """Return the end of a sentence; empty where there is no guess."""
    return f"; did you mean {guess}?" if guess else ""


def not_one_of(key: str, value: object, options: Iterable[str]) -> str:
    """Return what is wrong with a value that is none of the options, with the nearest one."""
    known = list(options)
    guess = nearest(str(value).lower(), known)
    return f"{key} must be one of {', '.join(known)}, got {value or 'nothing'}{did_you_mean(guess)}"


def of_address(key: str, text: str, *, hub: bool = True, in_it: bool = False) -> str | None:
    """Return what to set in place of an address of the web, None where a value is none.

    hub: whether the key takes a name on the Hub; in_it: also that of a file in it, as `owner/name/file`.
    """
    if not re.match(r"\w+://", text):
        return None
    if text.startswith("file://"):
        return f"{key}={text} is an address; set {key}={text.removeprefix('file://')}"
    found = re.match(rf"(?:(?:hub|hf)://|{_HUB})({_NAME}/{_NAME}){_IN_IT}", text)
    if not (found and hub):
        return f"{key}={text} is an address, from which nothing is downloaded; download it, and set {key}=<its path>"
    return f"{key}={text} is an address; set {key}={found[1]}{(in_it and found[2]) or ''}"


def listed(names: Iterable[str], shown: int = 3, longest: int = 100) -> str:
    """Return names of somebody else's for a message: the first few, without what would write to the terminal."""
    known = list(names)
    clean = ["".join(letter for letter in name if letter.isprintable()) for name in known[:shown]]
    cut = [name if len(name) <= longest else f"{name[:longest]}…" for name in clean]
    return f"{', '.join(cut)}{', …' if len(known) > shown else ''}"
