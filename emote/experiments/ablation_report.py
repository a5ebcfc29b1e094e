"""The table of an ablation, as Markdown, JSON and an image."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from emote.config import Config
from emote.evaluation.crossed import CrossedResult, compare_over_seeds
from emote.evaluation.effects import plot_effects
from emote.experiments.ablation_images import AblationImages
from emote.experiments.variants import Variant
from emote.runs.metrics_file import MetricsFile
from emote.sweeps.reports.sheet import draw_sheet
from emote.util.markdown import interval, signed, table, write_report

Losses = list[list[float]]  # [seeds, images]


@dataclass(frozen=True)
class StepResult:
    """One step over all seeds.

    to_base, to_first, to_last: against the base model, the first step and the step before. stuck: share of the
    adapter's entries that an update did not move. clipped: share of the steps whose gradient was clipped, None without
    clipping. largest_norm: of the gradient, before clipping.
    """

    name: str
    change: str | None
    to_base: CrossedResult
    to_first: CrossedResult | None
    to_last: CrossedResult | None
    stuck: float | None
    clipped: float | None
    largest_norm: float

    def as_dict(self) -> dict[str, Any]:
        plain = {"name": self.name, "change": self.change, "stuck": self.stuck, "clipped": self.clipped}
        results = {"to_base": self.to_base, "to_first": self.to_first, "to_last": self.to_last}
        return plain | {"largest_norm": self.largest_norm} | {k: r.as_dict() if r else None for k, r in results.items()}


@dataclass(frozen=True)
class Report:
    """What an ablation found. command: the words of emote ablation. images, concepts: of the held-out set. looked: what
    a judge saw of the adapters' drawings, where it looked.
    """

    command: list[str]
    config: Config
    seeds: list[int]
    base_loss: float
    images: int
    concepts: int
    steps: list[StepResult]
    runs: dict[str, str]
    looked: AblationImages | None = None

    def write(self, directory: Path) -> Path:
        """Write ablation.md, ablation.json and its images, print the first and return its path."""
        to_first, to_last = [step.to_first for step in self.steps], [step.to_last for step in self.steps]
        names = [step.name for step in self.steps]
        images: dict[str, Callable[[Path], None]] = {
            "ablation.png": lambda path: plot_effects(path, names, to_first, to_last, self.title)
        }
        if self.looked:
            sheet = draw_sheet(self.looked.sheet)
            images[self.looked.sheet.file] = lambda path: sheet.save(path, format="PNG")
        return write_report(directory, "ablation", self.as_markdown(), self.as_dict(), images)

    @property
    def title(self) -> str:
        trainer = self.config.trainer
        seeds = f"seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}"
        return f"{self.config.model.path}, {trainer.max_steps:,} steps of {trainer.batch_size}, {seeds}"

    @property
    def typed(self) -> str:
        return shlex.join(["emote", "ablation", *self.command])

    def as_dict(self) -> dict[str, Any]:
        return {
            "command": self.typed,
            "model": self.config.model.path,
            "max_steps": self.config.trainer.max_steps,
            "seeds": self.seeds,
            "images": self.images,
            "concepts": self.concepts,
            "base_loss": self.base_loss,
            "steps": [step.as_dict() for step in self.steps],
            "runs": self.runs,
            **({"looked": self.looked.as_dict()} if self.looked else {}),
        }

    def as_markdown(self) -> str:
        head = ["step", "held-out loss", "to the first step", "95 %", "to the step before", "95 %", "shown"]
        rows = [["base model", f"{self.base_loss:.5f}", *[""] * 7], *map(_row, self.steps)]
        count = len(self.seeds)
        few = f"{count} seeds are few: resampling sees {count - 1} of {count} parts of their variance."
        norm = max(step.largest_norm for step in self.steps)
        notes = [
            f"Mean over {count} seed{'s' * (count > 1)} and {self.images} held-out images of {self.concepts} "
            "concepts: unweighted error, the same noise for each, every adapter on one base in float32. Lower is "
            "better. Differences are paired by seed and image; intervals resample concepts and seeds together. "
            + (few if count > 1 else "One seed says nothing about other seeds."),
            "*shown*: what the interval to the step before says. *stuck*: adapter entries that an update did not move. "
            f"*clipped*: steps whose gradient norm was over the limit; the largest norm of all was {norm:.3g}.",
        ]
        lines = [f"# Ablation: {self.title}\n", f"`{self.typed}`\n", *table([*head, "stuck", "clipped"], rows), ""]
        image = "![differences of the held-out loss](ablation.png)\n"
        return "\n".join([*lines, *(f"{note}\n" for note in notes), image, *self._images_as_markdown()])

    def _images_as_markdown(self) -> list[str]:
        if not (found := self.looked):
            return []
        about = (
            f"{found.prompts} concepts, drawn by every adapter at full strength from the same prompts and noise; the "
            f"judge is `{found.judge}`. Mean over seeds; 95 % intervals are about other concepts and other seeds, "
            "differences are paired by seed and concept, and “not shown” where 0 is within the interval."
        )
        shown = [f"![{found.sheet.title}]({found.sheet.file})\n"]
        return ["## What one sees\n", *table(found.head, found.rows), "", f"{about}\n", *shown]


def report_on(
    planned: list[Variant],
    delivered: list[Path],
    losses: Losses,
    base: list[float],
    concepts: list[str],
    command: list[str],
    looked: AblationImages | None = None,
) -> Report:
    """planned, delivered, losses: of each run, seed by seed. base, concepts: one for each held-out image."""
    runs = zip(planned, delivered, strict=True)
    return Report(
        command=command,
        config=planned[0].config,
        seeds=list(dict.fromkeys(variant.seed for variant in planned)),
        base_loss=fmean(base),
        images=len(base),
        concepts=len(set(concepts)),
        steps=step_results(planned, delivered, losses, base, concepts),
        runs={f"{variant.name}, seed {variant.seed}": str(path) for variant, path in runs},
        looked=looked,
    )


def step_results(
    planned: list[Variant], delivered: list[Path], losses: Losses, base: list[float], concepts: list[str]
) -> list[StepResult]:
    found: list[StepResult] = []
    first: Losses = []
    last: Losses = []
    for name in dict.fromkeys(variant.name for variant in planned):
        rows = [number for number, variant in enumerate(planned) if variant.name == name]
        own = [losses[row] for row in rows]
        config = planned[rows[0]].config
        metrics = [line for row in rows for line in MetricsFile(delivered[row] / "metrics.csv").rows()]
        norms = [line["grad_norm"] for line in metrics if "grad_norm" in line]
        stuck = [line["stuck_share"] for line in metrics if "stuck_share" in line]
        limit = config.trainer.max_grad_norm
        found.append(
            StepResult(
                name,
                planned[rows[0]].change,
                compare_over_seeds([base] * len(own), own, concepts),
                compare_over_seeds(first, own, concepts) if first else None,
                compare_over_seeds(last, own, concepts) if last else None,
                fmean(stuck) if stuck else None,
                fmean(norm > limit for norm in norms) if limit is not None and norms else None,
                max(norms, default=float("nan")),
            )
        )
        first, last = first or own, own
    return found


def _row(step: StepResult) -> list[str]:
    first, last = step.to_first, step.to_last
    return [
        f"+ {step.name}" if last else step.name,
        f"{step.to_base.after:.5f}",
        *((signed(first.difference), interval(first.interval_95)) if first else ("–", "–")),
        *((signed(last.difference), interval(last.interval_95)) if last else ("–", "–")),
        _verdict(last),
        "–" if step.stuck is None else f"{step.stuck:.0%}",
        "–" if step.clipped is None else f"{step.clipped:.0%}",
    ]


def _verdict(result: CrossedResult | None) -> str:
    if result is None or result.interval_95 is None:
        return "–"
    low, high = result.interval_95
    if low == high == 0:
        return "no change"
    return "lower" if high < 0 else "higher" if low > 0 else "nothing"
