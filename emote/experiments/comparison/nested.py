"""Nested ranks, both ways, against ranks that are trained one by one: the same seeds, images, noise and steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from emote.config import key
from emote.experiments.comparison.rows import Row, plan_rows, with_experiment
from emote.experiments.variants import Variant
from emote.util.errors import ConfigError
from emote.util.quiet import quiet_libraries

if TYPE_CHECKING:
    from emote.experiments.adapter_eval import Judge

ALONE = "one by one"
WAYS = {"mean of all": "weights", "drawn": "draw"}  # what a table calls it → lora.nested_by


@dataclass
class NestedOptions:
    ranks: list[int] = key("increasing; all of one nested run, and trained one by one", at_least=1,
                           default=[1, 2, 4, 8, 16])  # fmt: skip
    seeds: list[int] = key("one run of each for each", at_least=0, default=[42, 43, 44])
    output: str | None = key("directory of nested.md, .json and .png; null: nested/ in run.dir", default=None)


def compare_nested(options: NestedOptions, words: list[str]) -> Path:
    """Train what is missing, score every adapter alike, write the table and the plot; returns the table's path.

    Finished runs and scores are kept: the same words again cost only what is missing. Raises ConfigError for mistakes,
    before anything is loaded.
    """
    planned = plan(options, words)
    quiet_libraries()
    from emote.experiments.ablate import run_all  # late: these import torch
    from emote.experiments.adapter_eval import Judge
    from emote.experiments.comparison.nested_report import NestedReport
    from emote.util.console import echo

    delivered = run_all(planned)
    judge = Judge(planned[0].config)
    losses: dict[str, dict[int, list[list[float]]]] = {}
    for number, (variant, path) in enumerate(zip(planned, delivered, strict=True), 1):
        for rank, found in _scores(judge, variant, path).items():
            losses.setdefault(_way(variant), {}).setdefault(rank, []).append(found)
        echo(f"scored {number} of {len(planned)}: {variant.name}, seed {variant.seed}")
    runs: dict[str, list[Path]] = {}
    for variant, path in zip(planned, delivered, strict=True):
        runs.setdefault(_way(variant), []).append(path)
    report = NestedReport(options, words, planned[0].config, judge.base, judge.concepts, losses, runs)
    return report.write(Path(options.output) if options.output else Path(planned[0].config.run.dir) / "nested")


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


def _way(variant: Variant) -> str:
    return variant.name if variant.name in WAYS else ALONE


def _scores(judge: Judge, variant: Variant, path: Path) -> Mapping[int, list[float]]:
    """Held-out losses of each rank that a run delivers."""
    from emote.lora.nested import lora_of_rank
    from emote.runs.run_folder import rank_directory

    config, lora = variant.config, variant.config.lora
    found = {lora.rank: judge.score(config, path)}
    for rank in lora.nested[:-1]:
        found[rank] = judge.score(replace(config, lora=lora_of_rank(lora, rank)), path / rank_directory(rank))
    return found
