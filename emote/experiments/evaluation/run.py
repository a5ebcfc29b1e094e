"""Draw what an evaluation plans, and measure it."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emote.evaluation.images.jackknife import Estimate, combine, over_runs
from emote.evaluation.images.judge import ImageJudge
from emote.evaluation.images.measures import Drawings, Figures, Measured, Measures, against_base, differences
from emote.experiments.evaluation.plan import Plan
from emote.experiments.evaluation.strength import CurvePoint, Recommended, mean_curve, recommend
from emote.imaging.cutout import cut_out
from emote.inference.drawings import Kept, draw_kept
from emote.inference.image_generator import ImageGenerator
from emote.inference.request import Request
from emote.inference.resolve_adapter import Adapter
from emote.runs.environment import peak_memory_bytes
from emote.util.console import console, echo, progress_bar


@dataclass(frozen=True)
class AdapterResult:
    """drawn: in the order of the plan's drawn prompts. figures: of its own and against the base.

    label: as short as tells the adapters apart.
    """

    adapter: Adapter
    label: str
    drawn: list[Kept]
    measured: Measured
    figures: Figures
    to_base: Figures
    curve: list[CurvePoint]
    recommended: Recommended | None


@dataclass(frozen=True)
class Replicates:
    """Adapters that differ by their seed alone, by seed. figures, to_base: means, with intervals over concepts and
    seeds. recommended: by the mean of their curves, for each of them: one seed's own best strength is luck."""

    by_seed: dict[str, AdapterResult]
    figures: dict[str, Estimate]
    to_base: dict[str, Estimate]
    recommended: Recommended | None

    @property
    def label(self) -> str:
        return f"{next(iter(self.by_seed.values())).label} and {len(self.by_seed) - 1} more of its seeds"

    @property
    def labels(self) -> list[str]:
        return [result.adapter.label for result in self.by_seed.values()]


@dataclass(frozen=True)
class EvaluationResult:
    plan: Plan
    measures: Measures
    real: Measured
    base: Measured
    base_drawn: list[Kept]
    adapters: list[AdapterResult]
    replicates: list[Replicates]
    costs: dict[str, Any]


def run_evaluation(plan: Plan) -> EvaluationResult:
    """Draw with the base and each adapter, and measure. What was drawn before is read. Raises ConfigError."""
    began = time.perf_counter()
    image_generator = ImageGenerator(plan.base, plan.options.device.value, plan.options.precision)
    echo(
        f"{', '.join(adapter.label for adapter in plan.adapters)} on {plan.base.label}: {len(plan.prompts)} concepts, "
        f"{sum(prompt.held_out for prompt in plan.prompts)} of them held out; the judge is {plan.judge.towers}"
    )
    drawer = Drawer(image_generator, plan)
    measures = Measures(ImageJudge(plan.judge, image_generator.device), plan.reference, cut_out)
    real = measures.real()
    base_drawings, base_drawn = drawer.draw(None, 0.0)
    base = measures.of(base_drawings)
    results = []
    for adapter, label in zip(plan.adapters, short_labels([each.label for each in plan.adapters]), strict=True):
        drawings, drawn = drawer.draw(adapter, plan.options.lora_scale)
        measured = measures.of(drawings)
        own = against_base(measured, base)
        curve = _curve(plan, drawer, measures, adapter)
        to_base = differences(measured.figures, base.figures)
        figures, recommended = measured.figures | own, recommend(curve)
        results.append(AdapterResult(adapter, label, drawn, measured, figures, to_base, curve, recommended))
    costs = {
        "seconds": round(time.perf_counter() - began, 1),
        "seconds_drawing": round(drawer.seconds, 1),
        "images_drawn": drawer.count,
        "peak_memory_bytes": peak_memory_bytes(image_generator.device),
    }
    groups = _replicates(plan, results)
    results = _as_replicates(results, groups)
    return EvaluationResult(plan, measures, real, base, base_drawn, results, groups, costs)


def short_labels(labels: Sequence[str]) -> list[str]:
    """Without identities and steps where the names alone differ: `quickstart` of `quickstart-e95ba875b33e/600`."""
    bare = [re.sub(r"-[0-9a-f]{12}(?=/|$)", "", label) for label in labels]
    shortest = [re.sub(r"/\d+$", "", label) for label in bare]
    return next((found for found in (shortest, bare) if len(set(found)) == len(found)), list(labels))


class Drawer:
    """Draws what a plan wants of one model, and remembers what that took."""

    def __init__(self, image_generator: ImageGenerator, plan: Plan) -> None:
        self.image_generator, self.plan = image_generator, plan
        self.directory = Path(plan.options.cache_dir) / "drawings"
        self.seconds, self.count = 0.0, 0

    def draw(self, adapter: Adapter | None, scale: float) -> tuple[Drawings, list[Kept]]:
        main = self.plan.requests(adapter, scale, self.plan.guidance_scale)
        again, again_concepts = self.plan.again(adapter, scale)
        kept = self.draw_all(adapter, [*main, *again, *self.plan.away(adapter, scale)], _what(adapter, scale))
        images = [one.image for one in kept]
        first, second = len(main), len(main) + len(again)
        drawn = Drawings(self.plan.drawn_prompts, images[:first], images[first:second], again_concepts, images[second:])
        return drawn, kept[:first]

    def draw_all(self, adapter: Adapter | None, requests: Sequence[Request], what: str) -> list[Kept]:
        began, before = time.perf_counter(), 0
        with progress_bar(console) as bar:
            task = bar.add_task(f"drawing {what}", total=len(requests), note="")

            def on_drawn(done: int, of: int) -> None:
                nonlocal before
                before = before or done + 1
                bar.update(task, completed=done, total=of)

            kept = draw_kept(self.image_generator, adapter, requests, self.directory, on_drawn)
        self.seconds += time.perf_counter() - began
        self.count += len(requests) + 1 - before
        return kept


def _what(adapter: Adapter | None, scale: float) -> str:
    return f"with {adapter.label} at {scale:g}" if adapter and scale else "with the base model"


def _curve(plan: Plan, drawer: Drawer, measures: Measures, adapter: Adapter) -> list[CurvePoint]:
    prompts = plan.curve_prompts()
    concepts, points = [prompt.concept for prompt in prompts], []
    for guidance_scale in plan.options.guidance_scales or [plan.guidance_scale]:

        def at(scale: float, guidance_scale: float = guidance_scale) -> Figures:
            requests = plan.requests(adapter, scale, guidance_scale, len(prompts))
            kept = drawer.draw_all(adapter if scale else None, requests, _what(adapter, scale))
            return measures.glance([one.image for one in kept], concepts)

        scales = sorted({scale for scale in plan.options.lora_scales if scale})
        if scales:
            base = at(0.0)
            points += [CurvePoint(scale, guidance_scale, at(scale), base) for scale in scales]
    return points


def _replicates(plan: Plan, results: Sequence[AdapterResult]) -> list[Replicates]:
    groups: dict[str, dict[str, AdapterResult]] = {}
    for result, replica in zip(results, plan.replicas, strict=True):
        if replica is not None:
            groups.setdefault(replica.recipe, {}).setdefault(replica.seed, result)
    return [
        Replicates(
            group,
            _means([result.figures for result in group.values()]),
            _means([result.to_base for result in group.values()]),
            recommend(mean_curve([result.curve for result in group.values()])),
        )
        for group in groups.values()
        if len(group) > 1
    ]


def _as_replicates(results: Sequence[AdapterResult], groups: Sequence[Replicates]) -> list[AdapterResult]:
    """Each replicate with the strength that is recommended for all of them."""
    shared = {id(result): group.recommended for group in groups for result in group.by_seed.values()}
    return [replace(result, recommended=shared.get(id(result), result.recommended)) for result in results]


def between_replicates(one: Replicates, other: Replicates) -> dict[str, Estimate]:
    """one − other of each figure, paired by seed and concept; seeds that only one of them has take no part."""
    common = [seed for seed in one.by_seed if seed in other.by_seed]
    both = [(one.by_seed[seed], other.by_seed[seed]) for seed in common] or list(
        zip(one.by_seed.values(), other.by_seed.values(), strict=False)
    )
    keys = [key for key in one.figures if key in other.figures]
    return {
        key: over_runs([combine(lambda a, b: a - b, first.figures[key], second.figures[key]) for first, second in both])
        for key in keys
    }


def _means(figures: Sequence[Figures]) -> dict[str, Estimate]:
    return {key: over_runs([each[key] for each in figures]) for key in figures[0]}


def between(one: AdapterResult, other: AdapterResult) -> dict[str, Estimate]:
    """one − other of each figure, paired by concept."""
    keys = [key for key in one.figures if key in other.figures]
    return {key: combine(lambda a, b: a - b, one.figures[key], other.figures[key]).estimate() for key in keys}
