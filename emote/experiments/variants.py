"""The steps of an ablation, from its file to configurations of which each differs from the last by one key."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from emote.cli.composing import hydra_over_conf
from emote.cli.train import compose_config
from emote.config import Config, schema_keys, to_dataclass
from emote.experiments.comparable import differences
from emote.util.errors import ConfigError
from emote.util.places import CONF

DEFINITION = CONF / "ablation.yaml"
KEYS = {"experiment": str, "seeds": list, "words": list, "steps": list}


@dataclass(frozen=True)
class Definition:
    """steps: (name, change), the first of which changes nothing."""

    experiment: str
    seeds: list[int]
    words: list[str]
    steps: list[tuple[str, str | None]]


@dataclass(frozen=True)
class Variant:
    """One step with one seed. change: what it adds to the step before, None for the first."""

    name: str
    change: str | None
    seed: int
    config: Config
    words: list[str]


def read_definition(path: Path) -> Definition:
    """Raises ConfigError where the file is not as conf/ablation.yaml is."""
    told = read_keys(path, KEYS, "conf/ablation.yaml")
    wrong = [name for name, kind in KEYS.items() if not isinstance(told[name], kind) or not told[name]]
    steps = [step for step in told["steps"] if isinstance(step, dict) and len(step) == 1] if not wrong else []
    if wrong or len(steps) != len(told["steps"]):
        raise ConfigError(f"{path}: {wrong[0] if wrong else 'steps'} must be written as in conf/ablation.yaml")
    pairs = [(str(name), change) for step in steps for name, change in step.items()]
    if pairs[0][1] is not None or not all(change for _, change in pairs[1:]):
        raise ConfigError(f"{path}: the first step changes nothing and each other one a key, got {dict(pairs)}")
    return Definition(told["experiment"], [int(seed) for seed in told["seeds"]], list(told["words"]), pairs)


def read_keys(path: Path, keys: Collection[str], example: str) -> dict[str, Any]:
    """Return what a definition in YAML says. example: a file that is right.

    Raises ConfigError where it is no YAML, or has other keys.
    """
    try:
        told: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"definition must be a YAML file such as {example}, got {path}: {error}") from error
    if not isinstance(told, dict) or set(told) != set(keys):
        found = ", ".join(map(str, told)) if isinstance(told, dict) else told
        raise ConfigError(f"{path} must have the keys {', '.join(keys)}, got {found}")
    return told


def variants(definition: Definition, words: list[str], seeds: list[int]) -> list[Variant]:
    """All runs, seed by seed, each step with the changes of those before it.

    words: of the command line. Raises ConfigError where they say what the ablation itself says, where a step does not
    change exactly one key, and as `compose_config` does.
    """
    changed = {str(change).partition("=")[0] for _, change in definition.steps if change}
    taken = [word for word in words if word.partition("=")[0] in changed | {"experiment", "seed", "name"}]
    if taken:
        raise ConfigError(f"{taken[0]}: the ablation says that itself; seeds=[…] and definition= are its own keys")
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds must differ, got {seeds}")
    said = [(step, change, seed, line) for seed in seeds for step, change, line in _lines(definition, words, seed)]
    compose_config(said[len(definition.steps) - 1][3])  # the last step says all that the others do: checked once
    with hydra_over_conf() as composer:
        found = [
            Variant(step, change, seed, to_dataclass(composer.compose(line)), line) for step, change, seed, line in said
        ]
    _check_steps(found[: len(definition.steps)])
    return found


def _lines(definition: Definition, words: list[str], seed: int) -> Iterator[tuple[str, str | None, list[str]]]:
    """Name, change and command line of each step."""
    changes: list[str] = []
    for number, (name, change) in enumerate(definition.steps):
        changes += [change] if change else []
        called = f"name=ablation-{number}-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}"
        fixed = [f"experiment={definition.experiment}", called, *definition.words]
        yield name, change, [*fixed, *words, *changes, f"seed={seed}"]


def _check_steps(steps: list[Variant]) -> None:
    names = [name for name, _, _ in schema_keys() if name != "name"]
    for before, after in pairwise(steps):
        found = differences(before.config, after.config, names)
        if len(found) != 1:
            keys = ", ".join(found) or "nothing"
            raise ConfigError(
                f"a step of an ablation must change one key; {after.name} ({after.change}) changes {keys}"
            )
