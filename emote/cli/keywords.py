"""`key=value` words of every command but `train`, read into a dataclass whose fields are made by `emote.config.key`.

All mistakes are reported together, each with the key, the rule, the value and the nearest valid name.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable, Collection
from dataclasses import MISSING, Field, fields
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from omegaconf import MISSING as REQUIRED  # what `key` without a default has

from emote.cli.guard import guarded
from emote.cli.layout import key_rows, shown_type
from emote.cli.peers import no_such_key, peer_key
from emote.config import as_text, range_problems
from emote.runs.mix_names import split_outside
from emote.util.errors import ConfigError, together
from emote.util.hints import did_you_mean, nearest, not_one_of

T = TypeVar("T")
HELP = ("-h", "--help")


def run_command(schema: type[T], main: Callable[[T], int | None], about: str | None, arguments: list[str]) -> int:
    """Read the words, do what they say, and return the exit code, as `guarded` has it.

    about: the command's docstring; `--help` prints it with every key, its default and its meaning, and `--help WORD`
    the keys with that word alone.
    """
    if help_wanted(arguments):
        return guarded(lambda: print(help_of(schema, about, arguments)))
    return guarded(lambda: main(read_keywords(schema, arguments)))


def help_wanted(arguments: list[str]) -> bool:
    return any(word in HELP for word in arguments)


def help_of(schema: type, about: str | None, arguments: list[str]) -> str:
    """Return the docstring and all keys, or the keys that have one of the other arguments in their name or meaning."""
    words = [word.lower() for word in arguments if word not in HELP and "=" not in word]
    if not words:
        return f"{(about or '').strip()}\n\nKeys:\n\n{describe(schema)}"
    text = describe(schema, words)
    if not text:
        raise ConfigError(f"no key is about {' '.join(words)}; --help alone lists all")
    return text


def read_keywords(schema: type[T], arguments: list[str]) -> T:
    """Return the words as an instance of `schema`; a list is `key=[a, b]` or the key said several times.

    Commas inside brackets of an item separate nothing: `runs=[[a:0.8, b:0.4], c]` has two items.

    Raises ConfigError with every mistake.
    """
    entries: dict[str, Field[Any]] = {entry.name: entry for entry in fields(schema)}  # type: ignore[arg-type]
    kinds = get_type_hints(schema)
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for word in arguments:
        name, found, text = word.partition("=")
        if not found or name not in entries:
            mistakes.append(unknown_word(word, entries))
            continue
        try:
            value = _convert(name, text, kinds[name])
        except ConfigError as error:
            mistakes.append(str(error))
            continue
        if name in values and not isinstance(value, list):
            print(f"note: {name} is set more than once; the last counts: {word}", file=sys.stderr)
        values[name] = values[name] + value if isinstance(value, list) and name in values else value
        mistakes += range_problems(name, entries[name], value)
    for name, entry in entries.items():
        required = entry.default in (MISSING, REQUIRED) and entry.default_factory is MISSING
        if required and name not in values and not any(line.startswith(f"{name} ") for line in mistakes):
            mistakes.append(f"{name} must be given: {entry.metadata['meaning']}; set {name}=…")
    if mistakes:
        raise ConfigError(together(mistakes))
    return schema(**values)


def unknown_word(word: str, known: Collection[str]) -> str:
    """Return the message for a word that begins with no known key."""
    name, found, _ = word.lstrip("-").partition("=")
    guess = name if name in known else peer_key(name, known) or nearest(name, known)
    rule = f"unknown key {name}" if found and not word.startswith("-") else f"{word} is not key=value"
    if not peer_key(name, known) and (reason := no_such_key(name)):
        return f"{rule}: {reason}"
    return rule + (did_you_mean(f"{guess}=") if guess else f"; keys are {', '.join(known)}")


def describe(schema: type, words: Collection[str] = ()) -> str:
    """Return a row a key: its default (nothing where it must be given), its meaning, type and range.

    words: those that a key must have in its name or meaning; none for all keys.
    """
    kinds = get_type_hints(schema)
    rows = []
    for entry in fields(schema):
        default = entry.default_factory() if entry.default_factory is not MISSING else entry.default
        meaning = f"{entry.metadata['meaning']}{shown_type(kinds[entry.name], entry)}"
        if not words or any(word in f"{entry.name} {entry.metadata['meaning']}".lower() for word in words):
            rows.append((entry.name, _shown(default), meaning))
    return "\n".join(key_rows(rows)) if rows else ""


def _quoted(text: str) -> list[str] | None:
    """Return the texts of a list that are all in quotes, as JSON and Hydra have them, with their commas; else None."""
    try:
        read = ast.literal_eval(text) if text[1:].lstrip().startswith("'") else json.loads(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return read if isinstance(read, list) and all(isinstance(part, str) for part in read) else None


def _shown(default: Any) -> str:
    if default in (MISSING, REQUIRED):
        return "(needed)"
    if default is None:
        return "null"
    if isinstance(default, list):
        return f"[{', '.join(map(as_text, default))}]"
    return as_text(default).lower() if isinstance(default, bool) else as_text(default)


def _convert(name: str, text: str, kind: Any) -> Any:
    if get_origin(kind) is Union or "UnionType" in type(kind).__name__:
        if text in ("null", "none", ""):
            return None
        kind = next(option for option in get_args(kind) if option is not type(None))
    if get_origin(kind) is list:
        inner = get_args(kind)[0]
        bare = text[1:-1] if text.startswith("[") and text.endswith("]") else None
        if bare is None and isinstance(inner, type) and issubclass(inner, Enum):
            bare = text  # options have no commas of their own
        parts = [text] if bare is None else _quoted(text) or split_outside(bare)
        return [_convert(name, part, inner) for part in parts]
    if kind is str:
        return text
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ConfigError(f"{name} must be true or false, got {text or 'nothing'}")
        return text.lower() == "true"
    if isinstance(kind, type) and issubclass(kind, Enum):
        options = [member.name for member in kind]
        if text not in options:
            raise ConfigError(not_one_of(name, text, options))
        return kind[text]
    try:
        return kind(text)
    except ValueError:
        what = {int: "an integer", float: "a number"}.get(kind, kind.__name__)
        raise ConfigError(f"{name} must be {what}, got {text or 'nothing'}") from None
