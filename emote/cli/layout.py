"""How help looks, the same for every command: rows of a name and its meaning, and types in words."""

from __future__ import annotations

import re
import shutil
import textwrap
import typing
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any

LONGEST_VALUE = 26


def width() -> int:
    """Return how many characters a line may have."""
    return min(max(shutil.get_terminal_size((110, 24)).columns, 90), 120)


def row(left: str, column: int, text: str) -> list[str]:
    """`left`, and from `column` on the text, in as many lines as it takes."""
    wrapped = textwrap.wrap(text, width() - column) or [""]
    start = f"  {left}".ljust(column)
    if len(start) > column:  # too long for its column
        return [start.rstrip(), *(" " * column + line for line in wrapped)]
    return [(start + wrapped[0]).rstrip(), *(" " * column + line for line in wrapped[1:])]


def key_rows(keys: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """Yield rows of (name, default, meaning)."""
    known = [(name, shortened(value), meaning) for name, value, meaning in keys]
    first = max(len(name) for name, _, _ in known) + 2
    second = max(len(value) for _, value, _ in known) + 2
    for name, value, meaning in known:
        yield from row(f"{name:<{first}}{value}", 2 + first + second, meaning)


def shortened(value: str) -> str:
    return value if len(value) <= LONGEST_VALUE else f"{value[: LONGEST_VALUE - 1]}…"


def shown_type(kind: Any, entry: Any) -> str:
    """` [integer, ≥ 1]`, as it follows a key's meaning."""
    if kind is Any and not entry.metadata["kind"]:
        return ""
    words = re.sub(r"^(an?|one of) ", "", described(kind, entry))
    limits = entry.metadata["limits"]
    signs = {"at_least": "≥", "above": ">", "at_most": "≤", "below": "<"}
    return f" [{words}{','.join(f' {signs[rule]} {limit}' for rule, limit in limits.items())}]"


def described(kind: Any, entry: Any = None) -> str:
    """Return a type of the schema in words; where a component is chosen, their names."""
    if entry is not None and entry.metadata["kind"]:
        return f"one of {', '.join(entry.metadata['kind'].names())}"
    if entry is not None and entry.metadata["word"]:
        return f"an integer or {entry.metadata['word']}"
    inner = typing.get_args(kind)
    if type(None) in inner:
        return f"{described(inner[0])} or null"
    if typing.get_origin(kind) is list:
        return {float: "a list of numbers", str: "a list of texts"}.get(inner[0], "a list")
    if typing.get_origin(kind) is dict:
        return "a mapping"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"one of {', '.join(member.name for member in kind)}"
    return {int: "an integer", float: "a number", bool: "true or false", str: "text"}.get(kind, "any value")
