"""Train what the comparison of recipes lacks, stage by stage, score every adapter alike, write the table."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

from emote.experiments.comparison.recipes import (
    BASELINE,
    DEFINITION,
    STAGES,
    Measured,
    RecipesOptions,
    SetResult,
    Stage,
    best_rows,
    chosen_rows,
    helps_everywhere,
    plan_set,
    read_definition,
    sets_of,
)
from emote.experiments.comparison.rows import Row, mean, step_seconds, with_experiment
from emote.experiments.variants import Variant
from emote.util.errors import ConfigError
from emote.util.hints import not_one_of
from emote.util.quiet import quiet_libraries


def compare_recipes(options: RecipesOptions, words: list[str]) -> Path:
    """Do what the definition says, from wherever it stands; returns the path of the table.

    Finished runs and scores are kept: the same words again cost only what is missing. Raises ConfigError for mistakes;
    those of the first stage before anything is loaded.
    """
    definition = read_definition(Path(options.definition or DEFINITION))
    if options.stage not in STAGES:
        raise ConfigError(not_one_of("stage", options.stage, list(STAGES)))
    rows = chosen_rows(definition.rows, options.rows)
    common = with_experiment(words, definition.experiment, definition.words)
    planned = {where: plan_set(rows, common, *where) for where in sets_of(definition.stages[0])}
    quiet_libraries()
    from emote.experiments.comparison.recipes_report import RecipesReport  # late: these import torch

    found: list[SetResult] = []
    for stage in definition.stages[: STAGES.index(options.stage) + 1]:
        if stage.rows is not None:
            rows = best_rows(rows, found, stage.rows)
        if stage.name == "confirm":
            rows = [row for row in rows if helps_everywhere(row.name, [r for r in found if r.stage == "full"])]
        if not rows:
            break
        for where in sets_of(stage):
            found.append(measure(stage, where[0], planned.get(where) or plan_set(rows, common, *where), rows))
    runs = Path(next(iter(planned.values()))[0].config.run.dir)
    own = [f"rows=[{', '.join(options.rows)}]"] if options.rows else []
    own += [f"definition={options.definition}"] if options.definition else []
    typed = shlex.join(["emote", "compare", "recipes", f"stage={options.stage}", *own, *words])
    report = RecipesReport(typed, {row.name: " ".join(row.words) for row in definition.rows}, found)
    return report.write(Path(options.output) if options.output else runs / "recipes")


def measure(stage: Stage, name: str, planned: Sequence[Variant], rows: Sequence[Row]) -> SetResult:
    """Train and score what is missing of one set, and compare every row with the recipe."""
    from emote.evaluation.several import difference, holm
    from emote.experiments.ablate import run_all
    from emote.experiments.adapter_eval import Judge
    from emote.util.console import echo

    echo(f"\n{stage.name}: {name}, {len(rows)} rows and the recipe, seeds {', '.join(map(str, stage.seeds))}")
    delivered = run_all(planned)
    judge = Judge(planned[0].config)
    losses: dict[str, list[list[float]]] = {}
    seconds: dict[str, list[float]] = {}
    for variant, path in zip(planned, delivered, strict=True):
        losses.setdefault(variant.name, []).append(judge.score(variant.config, path))
        seconds.setdefault(variant.name, []).append(median(step_seconds(path)))
    changes = [difference(losses[BASELINE], losses[row.name], judge.concepts) for row in rows]
    corrected = holm([change.p_value for change in changes])
    return SetResult(
        stage.name, name, stage.seeds, fmean(judge.base), (mean(losses[BASELINE]), fmean(seconds[BASELINE])),
        [
            Measured(row.name, mean(losses[row.name]), change, p, fmean(seconds[row.name]))
            for row, change, p in zip(rows, changes, corrected, strict=True)
        ],
        len(judge.concepts), len(set(judge.concepts)),
    )  # fmt: skip
