"""The keys that the schema has, and their sections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from emote.config import schema_keys

OPEN = "callbacks.extra"  # the one place where a key may be added

LEAVES: dict[str, tuple[Any, Any]] = {name: (entry, kind) for name, entry, kind in schema_keys()}
SECTIONS = {name.rsplit(".", depth)[0] for name in LEAVES for depth in range(1, name.count(".") + 1)}


def flat(content: dict[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) of everything in a mapping."""
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and name not in LEAVES:
            yield from flat(value, f"{name}.")
        elif value is not None or name not in SECTIONS:  # an empty section says nothing
            yield name, value
