"""Names that are no key: what is told, and which key was probably meant."""

from __future__ import annotations

import difflib

from emote.cli.groups import Groups
from emote.cli.keys import LEAVES, SECTIONS
from emote.cli.peers import no_such_key, peer_key
from emote.util.hints import did_you_mean, nearest
from emote.util.places import TRAIN

BY_LAST_PART: dict[str, list[str]] = {}  # rank: lora.rank; seed: seed, lora.seed, …
for _name in LEAVES:
    BY_LAST_PART.setdefault(_name.rsplit(".", 1)[-1], []).append(_name)


def unknown(key: str, groups: Groups) -> str:
    if key in SECTIONS:
        inner = [name for name in LEAVES if name.startswith(f"{key}.")]
        return f"{key} is a section, not a key; its keys are {', '.join(inner)}"
    group, _, option = key.partition("/")
    if group in groups.options and option in groups.shown(group):
        return f"{key} is an option; did you mean {group}={option}?"
    if not peer_key(key, {*LEAVES, *groups.options}) and (reason := no_such_key(key)):
        return f"unknown key {key}: {reason}"
    return f"unknown key {key}{did_you_mean(nearest_key(key, groups)) or f'; `{TRAIN} --help` lists them'}"


def likely_key(key: str, groups: Groups) -> str | None:
    """Return the key that was meant, where that is sure enough to look at its value too: another trainer calls it so,
    its last part is the same, or all of it is nearly the same. None elsewhere: a guess would add a mistake."""
    meant = nearest_key(key, groups)
    last = key.replace("/", ".").rsplit(".", 1)[-1]
    if meant is None or last in BY_LAST_PART or peer_key(key, {*LEAVES, *groups.options}):
        return meant
    return meant if difflib.SequenceMatcher(None, key, meant).ratio() >= 0.75 else None


def nearest_key(key: str, groups: Groups) -> str | None:
    """Return the key or group that was probably meant, None where nothing is near."""
    group, _, option = key.partition("/")
    if key in SECTIONS or option in groups.options.get(group, []):
        return None
    if meant := peer_key(key, {*LEAVES, *groups.options}):
        return meant
    name = key.replace("/", ".")
    last = name.rsplit(".", 1)[-1]
    if last not in BY_LAST_PART:
        if close := difflib.get_close_matches(name, [*LEAVES, *groups.options], 1, 0.75):
            return close[0]
        near_last = difflib.get_close_matches(last, BY_LAST_PART, 1, 0.75)
        if not near_last:
            return None
        last = near_last[0]
    return nearest(name, BY_LAST_PART[last]) or BY_LAST_PART[last][0]
