"""The one exception for a user's mistake."""

from __future__ import annotations

from collections.abc import Sequence


class ConfigError(Exception):
    """A mistake of the user's: what is wrong and what to do, in a few lines. Only entry points exit on it."""


def together(lines: Sequence[str]) -> str:
    """One mistake as it is, several as a list that says that nothing was started."""
    if len(lines) == 1:
        return lines[0]
    return "\n".join([f"{len(lines)} mistakes, nothing was started:", *(f"  {line}" for line in lines)])
