"""The words of a script that runs experiments: a few keys of its own, all others those of train.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TypeVar

from emote.cli.keys import LEAVES
from emote.cli.keywords import run_script
from emote.config import GROUPS
from emote.util.errors import ConfigError
from emote.util.hints import nearest

T = TypeVar("T")


def run_experiments(schema: type[T], main: Callable[[T, list[str]], object], about: str, arguments: list[str]) -> int:
    """`emote.cli.keywords.run_script` for scripts whose other words are those of train.py, which `main` gets too."""
    names = {entry.name for entry in fields(schema)}  # type: ignore[arg-type]
    own = [word for word in arguments if word.partition("=")[0] in names or word in ("-h", "--help")]
    rest = [word for word in arguments if word not in own]

    def do(options: T) -> int:
        _check_rest(rest, names)
        main(options, rest)
        return 0

    return run_script(schema, do, about, own)


def _check_rest(words: list[str], names: set[str]) -> None:
    """What train.py would not tell about: its flags, and keys of this script with a typo."""
    for word in words:
        if word.startswith("-"):
            raise ConfigError(f"{word} is no key=value; the words are those of train.py, without its flags")
        name = word.partition("=")[0]
        close = nearest(name, names) if name not in LEAVES and name not in GROUPS else None
        if close:
            raise ConfigError(f"unknown key {name}; did you mean {close}=?")
