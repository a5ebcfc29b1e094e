"""`key=value` words of the scripts, read into a dataclass whose fields are made by `emote.config.key`.

A field whose key is a word of Python's ends in an underscore: `for_` is `for=`.

All mistakes are reported together, each with the key, the rule, the value and the nearest valid name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from omegaconf import MISSING as REQUIRED  # what `key` without a default has

from emote.config import as_text, range_problems
from emote.util.errors import ConfigError, together
from emote.util.hints import nearest, not_one_of

T = TypeVar("T")


def run_script(schema: type[T], main: Callable[[T], int | None], about: str, arguments: list[str]) -> int:
    """Read the words, do what they say, and turn a user's mistake into a few lines and exit code 2.

    about: the script's docstring; `--help` prints it with every key, its default and its meaning.
    """
    if any(word in ("-h", "--help") for word in arguments):
        print(f"{about.strip()}\n\n{describe(schema)}")
        return 0
    try:
        return main(read_keywords(schema, arguments)) or 0
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(str(stop) or "interrupted", file=sys.stderr)
        return 128 + int(getattr(stop, "signal_number", 2))


def read_keywords(schema: type[T], arguments: list[str]) -> T:
    """The words as an instance of `schema`; a list is `key=[a, b]` or the key said several times.

    Raises ConfigError with every mistake.
    """
    entries = {_word(entry): entry for entry in fields(schema)}  # type: ignore[arg-type]
    kinds = get_type_hints(schema)
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for word in arguments:
        name, found, text = word.partition("=")
        if not found or name not in entries:
            close = nearest(name, entries)
            rule = f"{word} is no key=value" if not found else f"unknown key {name}"
            mistakes.append(f"{rule}; " + (f"did you mean {close}=?" if close else f"keys are {', '.join(entries)}"))
            continue
        try:
            value = _convert(name, text, kinds[entries[name].name])
        except ConfigError as error:
            mistakes.append(str(error))
            continue
        values[name] = values[name] + value if isinstance(value, list) and name in values else value
        mistakes += range_problems(name, entries[name], value)
    for name, entry in entries.items():
        required = entry.default in (MISSING, REQUIRED) and entry.default_factory is MISSING
        if required and name not in values and not any(line.startswith(f"{name} ") for line in mistakes):
            mistakes.append(f"{name}= is missing: {entry.metadata['meaning']}")
    if mistakes:
        raise ConfigError(together(mistakes))
    return schema(**{entries[name].name: value for name, value in values.items()})


def describe(schema: type) -> str:
    """One line a key: its default (nothing where it must be given) and its meaning."""
    rows = []
    for entry in fields(schema):
        default = entry.default if entry.default not in (MISSING, REQUIRED) else None
        if entry.default_factory is not MISSING:
            default = entry.default_factory()
        shown = "" if default is None else as_text(default)
        if isinstance(default, list):
            shown = f"[{', '.join(map(as_text, default))}]"
        rows.append(
            (f"{_word(entry)}={shown.lower() if isinstance(default, bool) else shown}", entry.metadata["meaning"])
        )
    width = min(34, max(len(left) for left, _ in rows))
    return "\n".join(f"  {left:<{width}}  {meaning}" for left, meaning in rows)


def _word(entry: Field[Any]) -> str:
    return entry.name.removesuffix("_")


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
        parts = [text] if bare is None else [part.strip() for part in bare.split(",") if part.strip()]
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
        what = {int: "a whole number", float: "a number"}.get(kind, kind.__name__)
        raise ConfigError(f"{name} must be {what}, got {text or 'nothing'}") from None
