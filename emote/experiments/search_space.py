"""What a search may choose, in the words of Hydra's sweeps, as Optuna's suggestions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from emote.cli.keys import LEAVES
from emote.cli.train import compose_config
from emote.util.errors import ConfigError

EXAMPLE = "set lora.rank=2,4,8, lora.rank=range(1,9) or 'trainer.learning_rate=tag(log, interval(1e-5, 1e-3))'"


@dataclass(frozen=True)
class Choice:
    """One of some values, as they are typed."""

    key: str
    values: tuple[str, ...]

    def suggest(self, trial: Any) -> str:
        return trial.suggest_categorical(self.key, list(self.values))

    @property
    def extremes(self) -> tuple[str, ...]:
        return self.values


@dataclass(frozen=True)
class Interval:
    """A number between two, both included; evenly spread in its logarithm if `log`."""

    key: str
    low: float
    high: float
    log: bool
    whole: bool

    def suggest(self, trial: Any) -> str:
        if self.whole:
            return str(trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log))
        return repr(trial.suggest_float(self.key, self.low, self.high, log=self.log))

    @property
    def extremes(self) -> tuple[str, ...]:
        return tuple(str(int(value)) if self.whole else repr(value) for value in (self.low, self.high))


Part = Choice | Interval


def read_space(words: Sequence[str]) -> tuple[list[str], list[Part]]:
    """The words that are said once, and those that leave a choice. Raises ConfigError where there is none, and with
    what `emote train` would say of any single value."""
    parser = OverridesParser.create()
    fixed: list[str] = []
    space: list[Part] = []
    for word in words:
        try:
            override = parser.parse_override(word)
        except HydraException:
            fixed.append(word)  # compose_config tells what is wrong with it
            continue
        if override.is_sweep_override():
            space.append(_part(override, word))
        else:
            fixed.append(word)
    if not space:
        raise ConfigError(f"a search needs a word with a choice, got none; {EXAMPLE}")
    for combination in _extremes(space):
        compose_config([*fixed, *combination])
    return fixed, space


def _part(override: Override, word: str) -> Part:
    key, sweep = override.key_or_group, override.value()
    if isinstance(sweep, IntervalSweep):
        low, high = float(sweep.start or 0), float(sweep.end or 0)
        if not low < high:
            raise ConfigError(f"{word}: the interval must go from a number to a higher one")
        kind = LEAVES[key][1] if key in LEAVES else float
        log, whole = "log" in sweep.tags, int in (kind, *get_args(kind))
        if log and low <= 0:
            raise ConfigError(f"{word}: a logarithmic interval must begin above 0")
        return Interval(key, low, high, log, whole)
    if isinstance(sweep, RangeSweep) and not list(override.sweep_iterator()):
        raise ConfigError(f"{word} names no values; {EXAMPLE}")
    return Choice(key, tuple(map(str, override.sweep_string_iterator())))


def _extremes(space: Sequence[Part]) -> Iterator[list[str]]:
    """Each value beside the first of the others."""
    first = [f"{part.key}={part.extremes[0]}" for part in space]
    yield first
    for number, part in enumerate(space):
        for value in part.extremes[1:]:
            yield [*first[:number], f"{part.key}={value}", *first[number + 1 :]]
