"""Nested ranks, both ways, against ranks that are trained one by one: the same seeds, images, noise and steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emote.config import key
from emote.experiments.comparison.rows import Row, plan_rows, with_experiment
from emote.experiments.variants import Variant
from emote.util.errors import ConfigError

ALONE = "one by one"
WAYS = {"mean of all": "weights", "drawn": "draw"}  # what a table calls it → lora.nested_by


@dataclass
class NestedOptions:
    ranks: list[int] = key("increasing; all of one nested run, and trained one by one", at_least=1,
                           default=[1, 2, 4, 8, 16])  # fmt: skip
    seeds: list[int] = key("one run of each for each", at_least=0, default=[42, 43, 44])
    output: str | None = key("directory of nested.md, .json and .png; null: nested/ in run.dir", default=None)


def plan(options: NestedOptions, words: Sequence[str]) -> list[Variant]:
    """Raises ConfigError for ranks that are not increasing, and as `plan_rows`."""
    ranks = options.ranks
    if ranks != sorted(set(ranks)) or len(ranks) < 2:
        raise ConfigError(f"ranks must be two or more, increasing, got {ranks}")
    if taken := [word for word in words if word.startswith(("lora.rank=", "lora.nested"))]:
        raise ConfigError(f"{taken[0]}: the comparison sets that itself; ranks=[…] is its own key")
    largest, told = f"lora.rank={ranks[-1]}", f"lora.nested=[{','.join(map(str, ranks))}]"
    nested = [Row(name, (largest, told, f"lora.nested_by={by}")) for name, by in WAYS.items()]
    alone = [Row(f"rank {rank}", (f"lora.rank={rank}",)) for rank in ranks]
    return plan_rows("nested", [*nested, *alone], with_experiment(words, "quickstart"), options.seeds)


def way_of(variant: Variant) -> str:
    return variant.name if variant.name in WAYS else ALONE
