"""The one exception for a user's mistake."""

from __future__ import annotations


class ConfigError(Exception):
    """A mistake of the user's: what is wrong and what to do, in a few lines. Only entry points exit on it."""
