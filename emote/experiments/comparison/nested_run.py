"""Train what the comparison of nested ranks lacks, score every adapter alike, write the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from emote.experiments.comparison.nested import NestedOptions, plan, way_of
from emote.experiments.variants import Variant
from emote.util.quiet import quiet_libraries

if TYPE_CHECKING:
    from emote.experiments.adapter_eval import Judge


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
    runs: dict[str, list[Path]] = {}
    for number, (variant, path) in enumerate(zip(planned, delivered, strict=True), 1):
        for rank, found in _scores(judge, variant, path).items():
            losses.setdefault(way_of(variant), {}).setdefault(rank, []).append(found)
        runs.setdefault(way_of(variant), []).append(path)
        echo(f"scored {number} of {len(planned)}: {variant.name}, seed {variant.seed}")
    report = NestedReport(options, words, planned[0].config, judge.base, judge.concepts, losses, runs)
    return report.write(Path(options.output) if options.output else Path(planned[0].config.run.dir) / "nested")


def _scores(judge: Judge, variant: Variant, path: Path) -> Mapping[int, list[float]]:
    """Held-out losses of each rank that a run delivers."""
    from emote.lora.nested import lora_of_rank
    from emote.runs.run_folder import rank_directory

    config, lora = variant.config, variant.config.lora
    found = {lora.rank: judge.score(config, path)}
    for rank in lora.nested[:-1]:
        found[rank] = judge.score(replace(config, lora=lora_of_rank(lora, rank)), path / rank_directory(rank))
    return found
