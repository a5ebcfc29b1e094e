"""The keys that the schema has, their sections, and their types in words."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from enum import Enum
from typing import Any

from emote.config import schema_keys

OPEN = "callbacks.extra"  # the one place where a key may be added

LEAVES: dict[str, tuple[Any, Any]] = {name: (entry, kind) for name, entry, kind in schema_keys()}
SECTIONS = {name.rsplit(".", depth)[0] for name in LEAVES for depth in range(1, name.count(".") + 1)}


def described(kind: Any, entry: Any = None) -> str:
    """A type of the schema in words; where a component is chosen, their names."""
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


def flat(content: dict[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of everything that a mapping says."""
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and name not in LEAVES:
            yield from flat(value, f"{name}.")
        elif value is not None or name not in SECTIONS:  # an empty section says nothing
            yield name, value
