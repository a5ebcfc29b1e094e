"""The one exception for a user's mistake."""

from __future__ import annotations

from collections.abc import Sequence


class ConfigError(Exception):
    """A mistake of the user's: what is wrong and what to do, in a few lines. Only entry points exit on it."""


def together(mistakes: Sequence[str], outcome: str = "nothing was started") -> str:
    """Return one mistake as it is; several with their number, a line each."""
    if len(mistakes) == 1:
        return mistakes[0]
    return "\n".join([f"{len(mistakes)} mistakes, {outcome}:", *(f"  {line}" for line in mistakes)])
