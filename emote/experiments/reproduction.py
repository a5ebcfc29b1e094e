"""The report of a reproduction, as Markdown and JSON beside the run's deliverables."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emote.config import Config, schema_keys
from emote.evaluation.paired import PairedResult, compare
from emote.experiments import reported
from emote.experiments.adapter_eval import Judge
from emote.experiments.comparable import differences
from emote.experiments.figures import Line, figures
from emote.runs.metrics_file import MetricsFile
from emote.util.console import echo
from emote.util.files import write_json, write_text
from emote.util.markdown import interval, percent, signed, table

Runs = dict[str, tuple[Config, Path]]  # by experiment: its configuration and its deliverables

# what a recipe is, beyond where things lie and what is shown
RECIPE = [
    name
    for name, _, _ in schema_keys()
    if name.split(".")[0] not in ("name", "run", "logger", "callbacks")
    if name not in ("trainer.num_workers", "trainer.accelerator", "model.resolution", "model.resolution_multiple")
]


@dataclass(frozen=True)
class HeldOutTable:
    """to_base: of each experiment against the base model. to_others: of the first against each other one."""

    to_base: dict[str, PairedResult]
    to_others: dict[str, PairedResult]

    def as_dict(self) -> dict[str, Any]:
        return {
            "to_base": {name: result.as_dict() for name, result in self.to_base.items()},
            "to_others": {name: result.as_dict() for name, result in self.to_others.items()},
        }


def write_reproduction(runs: Runs, as_reported: Config, command: list[str]) -> Path:
    """Measure, write reproduction.md and reproduction.json, print the first and return its path.

    runs: finished ones, the first of which is compared with the reported figures and with the others.
    as_reported: the configuration of the reported run.
    """
    name, (config, path) = next(iter(runs.items()))
    summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    lines = figures(config, summary, MetricsFile(path / "metrics.csv").rows())
    changed = differences(as_reported, config, RECIPE)
    held_out = _compare_held_out(runs) if config.data.held_out else None
    sheets = {other: at / "samples.png" for other, (_, at) in runs.items() if (at / "samples.png").exists()}
    write_json(
        path / "reproduction.json",
        {
            "experiment": name,
            "command": shlex.join(command),
            "source": reported.SOURCE,
            "figures": [line.as_dict() for line in lines],
            "differs": {key: {"reported": old, "here": new} for key, (old, new) in changed.items()},
            "held_out_loss": held_out.as_dict() if held_out else None,
            "sheets": {other: os.path.relpath(sheet, path) for other, sheet in sheets.items()},
        },
    )
    text = "\n".join(
        [
            f"# experiment={name}: reported and measured\n\n`{shlex.join(command)}`\n",
            *_figures_section(lines, summary),
            *_differences_section(changed),
            *(_held_out_section(name, held_out) if held_out else ()),
            *_sheets_section(sheets, path),
        ]
    )
    report = path / "reproduction.md"
    write_text(report, text)
    echo(text)
    echo(str(report))
    return report


def _compare_held_out(runs: Runs) -> HeldOutTable:
    (first, (config, _)), *others = runs.items()
    judge = Judge(config)
    scores = {name: judge.score(its_config, its_path) for name, (its_config, its_path) in runs.items()}
    return HeldOutTable(
        {name: compare(judge.base, losses, judge.concepts) for name, losses in scores.items()},
        {name: compare(scores[name], scores[first], judge.concepts) for name, _ in others},
    )


def _figures_section(lines: list[Line], summary: dict[str, Any]) -> list[str]:
    sources = sorted({line.source for line in lines if line.source})
    notes = [
        f"Reported: {reported.SOURCE} ({'; '.join(sources)}). ± is 1.96 standard errors of the mean over steps. "
        "A difference of a range is to its nearer end."
    ]
    if summary["resumed_from_step"]:
        notes.append("The run was resumed; peak memory is that of its last process.")
    if summary["mixed"]:
        notes.append("Its steps were computed with different arithmetic (run.mixed).")
    return [
        *table(["", "reported", "measured", "difference"], [[line.what, *line.texts] for line in lines]),
        "",
        *notes,
        "",
    ]


def _differences_section(changed: dict[str, tuple[str, str]]) -> list[str]:
    if not changed:
        return ["The recipe is that of experiment=reported in every key.\n"]
    lines = ["## What differs from the recipe of experiment=reported\n"]
    if "model.path" in changed:
        lines.append(
            "The base model is another one, so the reported figures are of something else: losses and times of the "
            "two say nothing about each other.\n"
        )
    return [*lines, *table(["key", "reported", "here"], [[f"`{key}`", *values] for key, values in changed.items()]), ""]


def _held_out_section(first: str, found: HeldOutTable) -> list[str]:
    some = next(iter(found.to_base.values()))
    rows = [["base model", f"{some.base:.5f}", "–", "–"]]
    rows += [
        [name, f"{result.final:.5f}", signed(result.difference), interval(result.interval_95)]
        for name, result in found.to_base.items()
    ]
    lines = [
        "## Held-out loss\n",
        f"Unweighted, {some.items} images of {some.concepts} concepts that were kept from training, the same noise "
        "for each; every adapter on one base in float32, whatever the run itself computed in. Lower is better; "
        "intervals are paired bootstraps over concepts.\n",
        *table(["", "loss", "difference to the base model", "95 % interval"], rows),
        "",
    ]
    for name, result in found.to_others.items():
        verdict = "no interval for a single concept"
        if result.interval_95:
            low, high = result.interval_95
            lower = first if high < 0 else name if low > 0 else "neither"
            verdict = f"{lower} is shown to be lower"
        lines.append(
            f"{first} − {name}: {signed(result.difference)} ({percent(result.relative)}; 95 % interval "
            f"{interval(result.interval_95)}): {verdict}.\n"
        )
    return lines


def _sheets_section(sheets: dict[str, Path], path: Path) -> list[str]:
    if not sheets:
        return []
    rows = [f"- {name}: [{(at := os.path.relpath(sheet, path))}]({at})" for name, sheet in sheets.items()]
    return ["## Images at the prompts, base and fine-tuned\n", *rows, ""]
