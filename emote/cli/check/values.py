"""One key and its value, compared with the schema."""

from __future__ import annotations

import typing
from enum import Enum
from functools import lru_cache
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from emote.cli.check.unknown_keys import unknown
from emote.cli.groups import Groups
from emote.cli.keys import LEAVES, OPEN
from emote.cli.layout import described
from emote.cli.peers import peer_value
from emote.config import config_schema, range_problems
from emote.util.hints import did_you_mean, nearest


def leaf_problem(name: str, value: Any, groups: Groups) -> str | None:
    """Return what is wrong with a name or its value, None where nothing is."""
    if name in LEAVES:
        return value_problem(name, value)
    return None if name.startswith(f"{OPEN}.") else unknown(name, groups)


def value_problem(name: str, value: Any) -> str | None:
    """`key rule, got value` where the schema's type or range refuses the value, None where it takes it.
    Interpolations are taken: what they refer to is known only when all is composed."""
    entry, kind = LEAVES[name]
    if isinstance(value, str) and "${" in value:
        return None
    shown = "nothing" if value is None or value == "" else str(value).lower() if isinstance(value, bool) else value
    rule = f"{name} must be {described(kind, entry)}, got {shown}"
    if value == "???" or (kind is bool and type(value) is int and value not in (0, 1)):
        return rule
    typed = _typed()
    try:
        OmegaConf.update(typed, name, value)
        converted = OmegaConf.select(typed, name)
    except (OmegaConfBaseException, ValueError):
        if isinstance(value, float) and value.is_integer() and int in (kind, *typing.get_args(kind)):
            return f"{rule}; write {int(value)}"
        if meant := peer_value(name, value):
            return f"{rule}; did you mean {meant}?"
        options = [member.name for member in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []
        return rule + did_you_mean(nearest(str(value).lower(), options))
    plain = OmegaConf.to_container(converted) if OmegaConf.is_list(converted) else converted
    problem = next(iter(range_problems(name, entry, plain)), None)
    if problem and (meant := peer_value(name, value)):
        return f"{problem.partition('; did you mean')[0]}; did you mean {meant}?"
    return problem


@lru_cache
def _typed() -> DictConfig:
    return OmegaConf.structured(config_schema())
