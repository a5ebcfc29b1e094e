"""What `run=[a:0.8, b:0.4]` names: several adapters, each with a weight."""

from __future__ import annotations

import math
from collections.abc import Sequence

from emote.util.errors import ConfigError


def parse_mix(text: str) -> list[tuple[str, float | None]] | None:
    """Return the (name, weight) of each part of `[a:0.8, b:0.4]`, None for a weight that is left out.

    None where the text is no mix. Raises ConfigError for a mix without parts.
    """
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    parts: list[tuple[str, float | None]] = []
    for word in split_outside(text[1:-1]):
        name, _, last = word.rpartition(":")
        weight = _number(last)
        parts.append((name.strip(), weight) if name.strip() and weight is not None else (word, None))
    if not parts:
        raise ConfigError("run=[] names no adapter; set run=base for the base model, or run=[a:0.8, b:0.4]")
    return parts


def mix_label(parts: Sequence[tuple[str, float]]) -> str:
    """Return what `parse_mix` reads."""
    return f"[{','.join(f'{name}:{_shown(weight)}' for name, weight in parts)}]"


def _shown(weight: float) -> str:
    return str(weight).removesuffix(".0")


def split_outside(text: str) -> list[str]:
    """Return the words between commas; commas inside brackets separate nothing, unless the brackets do not match."""
    words, depth = [""], 0
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if depth < 0:
            break
        if letter == "," and not depth:
            words.append("")
        else:
            words[-1] += letter
    found = text.split(",") if depth else words
    return [word.strip() for word in found if word.strip()]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
