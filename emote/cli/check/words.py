"""The words that were typed, compared with the schema: each for itself."""

from __future__ import annotations

import itertools
import shlex
import typing
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException

from emote.cli.check.findings import Findings
from emote.cli.check.unknown_keys import likely_key, unknown
from emote.cli.check.values import leaf_problem, value_problem
from emote.cli.composing import Composer
from emote.cli.groups import Groups
from emote.cli.keys import LEAVES, OPEN, SECTIONS, flat
from emote.util.hints import did_you_mean, nearest

HYDRAS_OWN = {  # what is not asked here
    "hydra/launcher": "set launcher= for what runs the jobs of a sweep",
    "hydra/sweeper": "emote runs sweeps itself, and `emote search` searches",
}
MOST_VALUES = 10_000  # of one sweep that are looked at


def check_words(composer: Composer, words: list[str], groups: Groups, found: Findings) -> None:
    parser = composer.parser
    chosen: set[str] = set()
    for word in words:
        try:
            override = parser.parse_override(word)
        except HydraException:
            found.add(_unreadable(word, groups, parser), word.split("=")[0].lstrip("+~"))
            continue
        if override.is_hydra_override():
            if override.key_or_group in HYDRAS_OWN:
                found.add(f"{word}: {HYDRAS_OWN[override.key_or_group]}")
            else:
                found.meant.append([word])
            continue
        if override.key_or_group in groups.options and override.key_or_group in chosen:
            found.add(f"{override.key_or_group} is chosen twice; choose it once")
            continue
        if override.key_or_group in chosen and override.key_or_group in LEAVES:
            found.notes.append(f"{override.key_or_group} is set more than once; the last counts: {word}")
        found.notes += _list_note(override, word)
        chosen.add(override.key_or_group)
        if override.is_sweep_override():
            _check_sweep(override, groups, parser, found)
        else:
            found.meant.append(_check_word(override, groups, found))
    found.meant = [values for values in found.meant if values]


def _list_note(override: Override, word: str) -> list[str]:
    """A text with a comma is two where it has no quotes: say what was understood."""
    key, _, value = word.partition("=")
    several = value.startswith("[") and "," in value and not set("\"'\\") & set(value)
    if not several or key not in LEAVES or (LEAVES[key][1] != list[str] and typing.get_args(LEAVES[key][1]) != (str,)):
        return []
    texts = value[1:-1].split(",")
    if not any(" " in text.strip() for text in texts):
        return []
    return [f"{key} has {len(texts)} texts, {' | '.join(text.strip() for text in texts)}; quotes keep a comma in one"]


def _unreadable(word: str, groups: Groups, parser: OverridesParser) -> str:
    key, equals, value = word.partition("=")
    if not equals:
        option = next((f"{group}={word}" for group in groups.options if word in groups.shown(group)), None)
        guess = f"{word}=…" if word in LEAVES or word in groups.options else option
        return f"{word} is not key=value{did_you_mean(guess)}"
    if key != key.strip() or (value != value.strip() and not value.strip().startswith(("'", '"'))):
        return f"{word} cannot be read: no spaces around ="
    for opening, closing in ("[]", "{}", "()"):
        if value.count(opening) != value.count(closing):
            return f"{word} cannot be read: {opening} and {closing} do not match"
    kind = LEAVES[key][1] if key in LEAVES else None
    if typing.get_origin(kind) is list and value.startswith("[") and value.endswith("]"):
        quoted = ", ".join(f'"{part.strip()}"' for part in value[1:-1].split(",") if part.strip())
        with suppress(HydraException):
            if not parser.parse_override(f"{key}=[{quoted}]").is_sweep_override():
                return f"{word} cannot be read; quote each text: {shlex.quote(f'{key}=[{quoted}]')}"
    for quote in "\"'":
        quoted = f"{key}={quote}{value}{quote}"
        with suppress(HydraException):
            if quote not in value and not parser.parse_override(quoted).is_sweep_override():
                return f"{word} cannot be read; if the value is text, quote it twice: {shlex.quote(quoted)}"
    return f"{word} cannot be read as key=value"


def _check_sweep(override: Override, groups: Groups, parser: OverridesParser, found: Findings) -> None:
    key, said = override.key_or_group, str(override.input_line)
    if not override.is_discrete_sweep():
        found.add(f"{said} has no values; list them, or use range(…)", key)
        return
    found.several[said] = _other_meaning(key, said.partition("=")[2])
    if found.several[said] and not found.sweep:
        return  # probably not meant as a sweep
    before = len(found.mistakes)
    values: list[str] = []
    try:
        texts = list(itertools.islice(override.sweep_string_iterator(), MOST_VALUES))
    except (HydraException, ValueError) as error:
        found.add(f"{said} has no values ({error})", key)
        return
    for text in texts:
        word = f"{override.get_key_element()}={text}"
        values += _check_word(parser.parse_override(word), groups, found)
    if not values and len(found.mistakes) == before:
        found.add(f"{said} has no value", key)
    found.meant.append(values)


def _other_meaning(key: str, value: str) -> str:
    """What else `key=a,b` may have been meant as."""
    kind = LEAVES[key][1] if key in LEAVES else None
    if typing.get_origin(kind) is list or key == "lora.targets":
        return f", or brackets to mean a list: {shlex.quote(f'{key}=[{value}]')}"
    if kind is str or str in typing.get_args(kind):
        quoted = f'{key}="{value}"'
        return f", or quotes to mean one text: {shlex.quote(quoted)}"
    return ""


def _check_word(override: Override, groups: Groups, found: Findings) -> list[str]:
    """Note what is wrong with `key=value`; returns the word as it was meant, [] where that cannot be told."""
    key, said, value = override.key_or_group, str(override.input_line), override.value()
    key_is_open = key.startswith(f"{OPEN}.")
    if override.is_delete() and not key_is_open:
        found.add(_about_removal(key, said, groups), key)
        return []
    if override.package is not None:
        found.add(f"{said} gives {key} another place (@{override.package}), where no key is; set {key}=…", key)
        return []
    if (override.is_add() or override.is_force_add()) and key != OPEN and not key_is_open:
        if key in LEAVES or key in groups.options:
            found.add(f"{said}: {key} exists, + is for new keys; did you mean {said.lstrip('+')}?")
            return _check_word(_renamed(override, key), groups, found)
        found.add(f"{unknown(key, groups)} (+ can add keys to {OPEN} alone)", key)
        return []
    if key_is_open:
        return [said]
    if isinstance(value, dict) and (key in SECTIONS or key in groups.options):
        return _check_mapping(key, value, said, groups, found)
    if key in groups.options:
        return _check_choice(key, value, groups, found)
    if key in LEAVES:
        if line := value_problem(key, value):
            found.add(line, key)
            return []
        return [said]
    found.add(unknown(key, groups), key)
    meant = likely_key(key, groups)  # a guess by letters would add a mistake about what nobody typed
    return _check_word(_renamed(override, meant), groups, found) if meant else []


def _about_removal(key: str, said: str, groups: Groups) -> str:
    if key in groups.options:
        may_be_null = groups.defaults[key] is None
    elif key in LEAVES:
        may_be_null = type(None) in typing.get_args(LEAVES[key][1])
    elif key in SECTIONS:
        may_be_null = False
    else:
        return unknown(key, groups)
    return f"{said} would remove {key}, which every run needs{f'; set {key}=null for none' if may_be_null else ''}"


def _renamed(override: Override, key: str) -> Override:
    """The override as if `key=value` had been typed."""
    line = f"{key}={str(override.input_line).partition('=')[2]}"
    return replace(override, type=OverrideType.CHANGE, key_or_group=key, input_line=line)


def _check_mapping(key: str, value: dict[str, Any], said: str, groups: Groups, found: Findings) -> list[str]:
    lines = [line for name, leaf in flat(value, f"{key}.") if (line := leaf_problem(name, leaf, groups))]
    for line in lines:
        found.add(line, line.split(" ")[0])
    return [] if lines else [said]


def _check_choice(group: str, value: Any, groups: Groups, found: Findings) -> list[str]:
    if value is None and groups.defaults[group] is None:
        return [f"{group}=null"]
    meant = []
    for option in value if isinstance(value, list) else [value]:
        option = "null" if option is None else str(option)
        shown = groups.shown(group)
        if option in shown:
            meant.append(option)
            continue
        rule = f"one of {', '.join(shown)}" if shown else "null: there is no option yet"
        guess = nearest(option, shown) or next((name for name in shown if name.endswith(f"/{option}")), None)
        keys = [name for name in LEAVES if name.startswith(f"{group}.") and name.count(".") == 1]
        listed = f"{', '.join(keys[:6])}{', …' if len(keys) > 6 else ''}"
        hint = f"; its keys are {listed}" if keys and guess is None and value is not None else ""
        found.add(f"{group} must be {rule}, got {option}{did_you_mean(guess)}{hint}", group)
        meant += [guess] if guess else []
    return [f"{group}=[{','.join(meant)}]" if isinstance(value, list) else f"{group}={meant[0]}"] if meant else []
