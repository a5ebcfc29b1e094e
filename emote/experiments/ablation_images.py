"""Which step of an ablation changes what one sees? Every adapter draws the same prompts and noise, and is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emote.evaluation.images.jackknife import Estimate, LeaveOneOut, combine, mean_over, over_runs
from emote.evaluation.images.judge import ImageJudge
from emote.evaluation.images.measures import MEASURES, Figures, Measures, look_at
from emote.evaluation.images.mmd import share_of_way
from emote.experiments.evaluation.options import EvaluateOptions
from emote.experiments.evaluation.plan import Plan, plan_evaluation
from emote.experiments.evaluation.report import show, show_difference
from emote.experiments.evaluation.run import Drawer
from emote.experiments.variants import Variant
from emote.imaging.cutout import cut_out
from emote.inference.image_generator import ImageGenerator
from emote.inference.resolve_adapter import Adapter
from emote.sweeps.reports.document import Sheet

SHOWN = ("recognised_top5", "style_share", "usable")
ON_SHEET = 8  # concepts
SHEET = "ablation-images.png"


@dataclass(frozen=True)
class StepImages:
    """figures, to_last: by measure, over the seeds; to_last is paired by seed and concept, {} for the first step."""

    name: str
    figures: dict[str, Estimate]
    to_last: dict[str, Estimate]

    def row(self) -> list[str]:
        cells = []
        for key in SHOWN:
            cells.append(show(self.figures[key], MEASURES[key]))
            cells.append(show_difference(self.to_last[key], MEASURES[key]) if key in self.to_last else "–")
        return [f"+ {self.name}" if self.to_last else self.name, *cells]

    def as_dict(self) -> dict[str, Any]:
        parts = {"figures": self.figures, "to_last": self.to_last}
        return {"name": self.name} | {k: {key: e.as_dict() for key, e in part.items()} for k, part in parts.items()}


@dataclass(frozen=True)
class AblationImages:
    """base: the base model's figures. sheet: the first seed's drawings, a row for each concept. prompts: how many."""

    judge: str
    prompts: int
    base: dict[str, Estimate]
    steps: list[StepImages]
    sheet: Sheet

    @property
    def head(self) -> list[str]:
        return ["step", *(title for key in SHOWN for title in (MEASURES[key].title, "to the step before"))]

    @property
    def rows(self) -> list[list[str]]:
        base = [show(self.base[key], MEASURES[key]) if key in self.base else "–" for key in SHOWN]
        return [["base model", *(cell for shown in base for cell in (shown, ""))], *(step.row() for step in self.steps)]

    def as_dict(self) -> dict[str, Any]:
        return {
            "judge": self.judge,
            "prompts": self.prompts,
            "base": {key: estimate.as_dict() for key, estimate in self.base.items()},
            "steps": [step.as_dict() for step in self.steps],
        }


def judge_steps(
    planned: Sequence[Variant], delivered: Sequence[Path], prompts: int, judge: str | None
) -> AblationImages:
    """Draw and judge with the adapter of each run, at full strength. What was drawn before is read.

    prompts: how many concepts. judge: as for `emote evaluate`. Raises ConfigError as that does.
    """
    run, trainer = planned[0].config.run, planned[0].config.trainer
    plan = plan_evaluation(
        EvaluateOptions(
            runs=[str(path) for path in delivered], judge=judge, prompts=prompts, runs_dir=run.dir,
            cache_dir=run.cache_dir, device=trainer.accelerator,
            inference_steps=planned[0].config.callbacks.samples.inference_steps,
        )
    )  # fmt: skip
    drawer = Drawer(ImageGenerator(plan.base, plan.options.device.value, plan.options.precision), plan)
    measures = Measures(ImageJudge(plan.judge, drawer.image_generator.device), plan.reference, cut_out)
    base, base_files = _look(plan, drawer, measures, None)
    looked = [_look(plan, drawer, measures, adapter) for adapter in plan.adapters]
    steps: list[StepImages] = []
    before: list[Figures] = []
    for name in dict.fromkeys(variant.name for variant in planned):
        own = [_with_share(looked[row][0], base) for row, variant in enumerate(planned) if variant.name == name]
        steps.append(StepImages(name, _over_seeds(own), _changes(before, own) if before else {}))
        before = own
    first = [row for row, variant in enumerate(planned) if variant.seed == planned[0].seed]
    chosen = [*range(len(plan.prompts))][:: max(1, len(plan.prompts) // ON_SHEET)][:ON_SHEET]
    sheet = Sheet(
        SHEET,
        f"Seed {planned[0].seed}, the same prompt and noise in a row",
        ["base model", *(planned[row].name for row in first)],
        [(plan.prompts[i].text, [base_files[i], *(looked[row][1][i] for row in first)]) for i in chosen],
    )
    return AblationImages(plan.judge.towers, len(plan.prompts), _estimates(base), steps, sheet)


def _look(plan: Plan, drawer: Drawer, measures: Measures, adapter: Adapter | None) -> tuple[Figures, list[Path]]:
    scale = 1.0 if adapter else 0.0
    what = f"with {adapter.label}" if adapter else "with the base model"
    kept = drawer.draw_all(adapter, plan.requests(adapter, scale, plan.guidance_scale), what)
    images, concepts = [one.image for one in kept], [prompt.concept for prompt in plan.drawn_prompts]
    usable = mean_over([bool(found) for found in look_at(images, cut_out)], concepts)
    return measures.glance(images, concepts) | {"usable": usable}, [one.file for one in kept]


def _with_share(figures: Figures, base: Figures) -> Figures:
    return figures | {"style_share": combine(share_of_way, figures["style_mmd2"], base["style_mmd2"])}


def _estimates(figures: Figures) -> dict[str, Estimate]:
    return {key: figure.estimate() for key, figure in figures.items() if key in SHOWN}


def _over_seeds(figures: Sequence[Figures]) -> dict[str, Estimate]:
    return {key: over_runs([each[key] for each in figures]) for key in SHOWN}


def _changes(before: Sequence[Figures], after: Sequence[Figures]) -> dict[str, Estimate]:
    def change(key: str) -> list[LeaveOneOut]:
        return [combine(lambda a, b: a - b, new[key], old[key]) for old, new in zip(before, after, strict=True)]

    return {key: over_runs(change(key)) for key in SHOWN}
