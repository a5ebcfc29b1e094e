"""Values of text keys stay the text that was typed: `name=12E34` is no number, and `~/runs` needs no quotes."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Any

from hydra.errors import HydraException

from emote.cli.keys import LEAVES


def as_typed(words: Sequence[str], parser: Any) -> list[str]:
    """Return the words of a command line, where Hydra would not read a text key's value as text in quotes.

    parser: Hydra's.
    """
    return [_as_typed(word, parser) for word in words]


def _as_typed(word: str, parser: Any) -> str:
    key, equals, value = word.partition("=")
    kind = LEAVES[key][1] if key in LEAVES else None
    if not (equals and value) or not (kind is str or str in typing.get_args(kind)) or set("\"'\\") & set(value):
        return word
    if typing.get_origin(kind) is list:
        return word
    try:
        override = parser.parse_override(word)
        is_text = override.is_sweep_override() or not isinstance(override.value(), (int, float, bool))
    except HydraException:
        # letters that Hydra's grammar does not have, such as é and ~; brackets and commas may be meant as its own
        is_text = value != value.strip() or bool(set(",[]{}()") & set(value.removeprefix("~")))
    return word if is_text else f'{key}="{value}"'
