"""What people ask trainers for, each a row against one recipe: screened, then in full, then confirmed on new data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emote.config import key
from emote.evaluation.images.jackknife import Estimate
from emote.experiments.comparison.rows import Row, plan_rows
from emote.experiments.variants import Variant, read_keys
from emote.util.errors import ConfigError
from emote.util.hints import not_one_of
from emote.util.places import CONF

DEFINITION = CONF / "recipes.yaml"
KEYS = {"experiment": str, "words": list, "rows": dict, "screen": dict, "full": dict, "confirm": dict}
STAGES = ("screen", "full", "confirm")
BASELINE = "the recipe"
SHOWN = 0.05


@dataclass
class RecipesOptions:
    stage: str = key("how far to go: screen, full or confirm", default="confirm")
    rows: list[str] = key("only these of the definition's; [] for all", default=[])
    output: str | None = key("directory of recipes.md, .json and .png; null: recipes/ in run.dir", default=None)
    definition: str = key("rows and stages, as a YAML file; as it stands, those of conf/recipes.yaml", default="")


@dataclass(frozen=True)
class Stage:
    """sets: words by what a table calls them.  rows: how many go into it, the best before; None for all."""

    name: str
    seeds: list[int]
    sets: dict[str, list[str]]
    rows: int | None


@dataclass(frozen=True)
class Definition:
    experiment: str
    words: list[str]
    rows: list[Row]
    stages: list[Stage]


@dataclass(frozen=True)
class Measured:
    """A row on a set: its loss, its difference to the recipe, corrected for the rows beside it, seconds a step."""

    row: str
    loss: float
    difference: Estimate
    corrected_p: float
    seconds_per_step: float

    @property
    def is_shown(self) -> bool:
        return self.corrected_p < SHOWN

    @property
    def helps(self) -> bool:
        return self.is_shown and self.difference.value < 0


@dataclass(frozen=True)
class SetResult:
    """All rows of a stage on one set. recipe: loss and seconds a step of what they are compared with."""

    stage: str
    name: str
    seeds: list[int]
    base: float
    recipe: tuple[float, float]
    rows: list[Measured]
    images: int
    concepts: int


def best_rows(rows: Sequence[Row], found: Sequence[SetResult], count: int) -> list[Row]:
    """Those whose loss is below the recipe's by most, over the sets of the stage before."""
    changes = {row.name: [m.difference.value for r in found for m in r.rows if m.row == row.name] for row in rows}
    means = {name: sum(values) / len(values) for name, values in changes.items() if values}
    return sorted((row for row in rows if means.get(row.name, 0.0) < 0), key=lambda row: means[row.name])[:count]


def helps_everywhere(row: str, results: Sequence[SetResult]) -> bool:
    """Whether a row is shown to help on a set at least, and shown to harm on none."""
    own = [measured for result in results for measured in result.rows if measured.row == row]
    return any(m.helps for m in own) and not any(m.is_shown and not m.helps for m in own)


def plan_set(
    rows: Sequence[Row], common: Sequence[str], name: str, words: tuple[str, ...], seeds: tuple[int, ...]
) -> list[Variant]:
    return plan_rows("recipes", [Row(BASELINE), *rows], [*common, *words], seeds)


def sets_of(stage: Stage) -> list[tuple[str, tuple[str, ...], tuple[int, ...]]]:
    return [(name, tuple(words), tuple(stage.seeds)) for name, words in stage.sets.items()]


def chosen_rows(rows: list[Row], names: Sequence[str]) -> list[Row]:
    known = {row.name: row for row in rows}
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(not_one_of("rows", unknown[0], list(known)))
    return [known[name] for name in names] if names else rows


def read_definition(path: Path) -> Definition:
    """Raises ConfigError where the file is not as conf/recipes.yaml is."""
    told = read_keys(path, KEYS, "conf/recipes.yaml")
    for name, kind in KEYS.items():
        if not isinstance(told[name], kind) or not told[name]:
            raise ConfigError(f"{path}: {name} must be written as in conf/recipes.yaml, got {told[name]}")
    try:
        stages = [_stage(name, told[name]) for name in STAGES]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{path}: stages must be written as in conf/recipes.yaml ({error!r})") from error
    rows = [Row(str(name), tuple(str(words).split())) for name, words in told["rows"].items()]
    return Definition(told["experiment"], [str(word) for word in told["words"]], rows, stages)


def _stage(name: str, told: Mapping[str, Any]) -> Stage:
    sets = {str(called): str(words).split() for called, words in told["sets"].items()}
    return Stage(name, [int(seed) for seed in told["seeds"]], sets, told.get("rows"))
