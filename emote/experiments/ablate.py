"""Run every step of an ablation with every seed, score the adapters alike, and write the table and the plot."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from emote.config import key
from emote.experiments.variants import DEFINITION, Variant, read_definition, variants
from emote.util.errors import ConfigError
from emote.util.quiet import quiet_libraries

FEWEST_IMAGES = 4


@dataclass
class AblationOptions:
    seeds: list[int] = key("one run of each step for each; [] for those of the definition", at_least=0, default=[])
    output: str | None = key("directory of ablation.md, .json and .png; null: ablation/ in run.dir", default=None)
    images: int = key("concepts that every adapter draws for a judge; 0: losses alone", at_least=0, default=0)
    judge: str | None = key("who looks at them, as for `emote evaluate`", default=None)
    definition: str = key("the steps, as a YAML file; as it stands, those of conf/ablation.yaml", default="")


def ablate(options: AblationOptions, words: list[str]) -> Path:
    """Do what the definition says, from wherever it stands; returns the path of the table.

    Finished runs and scores are kept: the same words again cost only what is missing. Raises ConfigError for mistakes,
    before anything is loaded.
    """
    definition = read_definition(Path(options.definition or DEFINITION))
    planned = variants(definition, words, options.seeds or definition.seeds)
    if options.judge and not options.images:
        raise ConfigError(f"judge={options.judge} has no effect without images=; set how many concepts it is to see")
    if 0 < options.images < FEWEST_IMAGES:
        raise ConfigError(f"images must be 0 or at least {FEWEST_IMAGES}, got {options.images}")
    if not planned[0].config.data.held_out:
        raise ConfigError("data.held_out must be above 0 for an ablation, got 0")
    quiet_libraries()
    from emote.experiments.ablation_report import report_on  # late: these import torch
    from emote.experiments.adapter_eval import Judge
    from emote.util.console import echo

    delivered = run_all(planned)
    judge, losses = Judge(planned[0].config), []
    for number, (variant, path) in enumerate(zip(planned, delivered, strict=True), 1):
        losses.append(judge.score(variant.config, path))
        loss = f"{fmean(losses[-1]):.5f}"
        echo(f"scored {number} of {len(planned)}, in float32: {variant.name}, seed {variant.seed}: {loss}")
    images = None
    if options.images:
        from emote.experiments.ablation_images import judge_steps

        images = judge_steps(planned, delivered, options.images, options.judge)
    report = report_on(planned, delivered, losses, judge.base, judge.concepts, _command(options, words), images)
    return report.write(Path(options.output) if options.output else Path(planned[0].config.run.dir) / "ablation")


def _command(options: AblationOptions, words: list[str]) -> list[str]:
    seeds = [f"seeds=[{','.join(map(str, options.seeds))}]"] if options.seeds else []
    images = [f"images={options.images}"] if options.images else []
    judge = [f"judge={options.judge}"] if options.judge else []
    return [*words, *seeds, *images, *judge, *([f"definition={options.definition}"] if options.definition else [])]


def run_all(planned: Sequence[Variant]) -> list[Path]:
    """Train each from wherever it stands, and return where its deliverables lie."""
    from emote.training.run import run
    from emote.util.console import echo
    from emote.util.units import readable_seconds

    delivered: list[Path] = []
    spent: list[float] = []  # seconds of the runs that were not finished before
    for number, variant in enumerate(planned, 1):
        left = f"; about {readable_seconds(fmean(spent) * (len(planned) - number + 1))} left" if spent else ""
        echo(f"\nrun {number} of {len(planned)}: {variant.name}, seed {variant.seed}{left}")
        began = time.time()
        delivered.append(run(variant.config, variant.words))
        if (delivered[-1] / "summary.json").stat().st_mtime >= began:  # else it was finished before
            spent.append(time.time() - began)
    return delivered
