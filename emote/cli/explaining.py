"""Mistakes in our words: several together, and what Hydra, OmegaConf or YAML complain about."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from omegaconf.errors import InterpolationResolutionError, InterpolationValidationError, OmegaConfBaseException

from emote.cli.keys import LEAVES, OPEN
from emote.cli.layout import described
from emote.util.hints import did_you_mean, nearest
from emote.util.places import ROOT


def explained(error: BaseException) -> str:
    """Return what Hydra, OmegaConf or YAML complain about, in our words where the case is known."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        where = f"{short(mark.name)}, line {mark.line + 1}" if mark else "a file in conf/"
        return f"{where}: not valid YAML ({error.problem or error.context})"
    text = str(error)
    if missing := re.search(r"In '(.+?)': Could not find '(.+?)'", text):
        return _missing_option(missing[1], missing[2], text)
    if not_ours := re.match(r"Could not override '(hydra\..+?)'", text):
        return f"unknown key {not_ours[1]} of Hydra's"
    cause: BaseException = error
    while cause.__cause__ is not None and not isinstance(cause, OmegaConfBaseException):
        cause = cause.__cause__
    key = str(getattr(cause, "full_key", None) or "")
    reason = str(cause).split("\n")[0]
    if key.startswith(f"{OPEN}.") and "not in struct" in reason:
        return f"{key} is new: write + before it"
    if interpolation := re.match(r"Interpolation key '(.+?)' not found", reason):
        guess = nearest(interpolation[1], LEAVES)
        return f"{key} refers to {interpolation[1]}, which is unknown{did_you_mean(guess)}"
    if isinstance(cause, InterpolationResolutionError) and not isinstance(cause, InterpolationValidationError):
        return f"{key} cannot be resolved: {reason}"
    if "missing mandatory value" in reason:
        return f"{key} must be given: set {key}=…"
    if key in LEAVES:
        return f"{key} must be {described(LEAVES[key][1])}: {reason}"
    lines = [line.strip() for line in text.split("\nConfig search path")[0].splitlines() if line.strip()]
    return " ".join(lines[:4]) or type(error).__name__


def _missing_option(where: str, wanted: str, text: str) -> str:
    group, _, option = wanted.rpartition("/")
    options = [line.strip() for line in text.split("\n") if line.startswith("\t") and "provider=" not in line]
    shown = [name for name in options if not name.startswith("_")]
    rule = f"one of {', '.join(shown)}" if shown else "a file that exists"
    start = "" if where.startswith("hydra/") else f"conf/{where}.yaml: "
    return f"{start}{group or 'defaults'} must be {rule}, got {option}{did_you_mean(nearest(option, shown))}"


def short(path: str) -> str:
    """Return a path as messages show it: within the repository relative to it."""
    file = Path(path)
    return str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else path
