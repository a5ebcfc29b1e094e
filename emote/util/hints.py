"""The nearest valid name to what was typed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The most similar of the known names; None where none is similar."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return found[0] if found else None


def did_you_mean(guess: str | None) -> str:
    """What follows a complaint where a guess is to be made, else nothing."""
    return f"; did you mean {guess}?" if guess else ""
