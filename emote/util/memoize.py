"""What the base model computes is the same in every run of a process, so in a sweep it is computed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_known: dict[str, object] = {}


def memoize(key: str, compute: Callable[[], T]) -> T:
    """Return what `compute` gave for this key before, or gives now. key: everything that it depends on, as text."""
    if key not in _known:
        _known[key] = compute()
    return _known[key]  # type: ignore[return-value]
