"""The words of a command that runs experiments: a few keys of its own, all others those of `emote train`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TypeVar

from emote.cli.guard import guarded
from emote.cli.keys import LEAVES
from emote.cli.keywords import help_of, help_wanted, read_keywords
from emote.config import GROUPS
from emote.util.errors import ConfigError
from emote.util.hints import nearest

T = TypeVar("T")


def run_experiments(
    schema: type[T], main: Callable[[T, list[str]], object], about: str | None, arguments: list[str]
) -> int:
    """As `emote.cli.keywords.run_command`, for commands whose other words are those of `emote train`, which `main`
    gets too."""
    names = {entry.name for entry in fields(schema)}  # type: ignore[arg-type]
    own = [word for word in arguments if word.partition("=")[0] in names]
    rest = [word for word in arguments if word not in own]

    def do() -> None:
        options = read_keywords(schema, own)
        _check_rest(rest, names)
        main(options, rest)

    return guarded((lambda: print(help_of(schema, about, arguments))) if help_wanted(arguments) else do)


def _check_rest(words: list[str], names: set[str]) -> None:
    """What `emote train` would not tell about: its flags, and keys of this command with a typo."""
    for word in words:
        if word.startswith("-"):
            raise ConfigError(f"{word} is not key=value; the words are those of `emote train`, without its flags")
        name = word.partition("=")[0]
        close = nearest(name, names) if name not in LEAVES and name not in GROUPS else None
        if close:
            raise ConfigError(f"unknown key {name}; did you mean {close}=?")
