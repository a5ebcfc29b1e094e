"""What an evaluation found: a page with its Markdown twin, a file for programs, a few lines for the terminal."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from emote.evaluation.images.copies import closest_pairs
from emote.evaluation.images.jackknife import Estimate
from emote.evaluation.images.measures import MEASURES, Better, Figures, Measure, shows_copies
from emote.experiments.evaluation.run import AdapterResult, EvaluationResult, between, between_replicates
from emote.experiments.evaluation.strength import CurvePoint, Recommended
from emote.inference.evaluated import FORMAT, evaluation_beside
from emote.inference.png_metadata import save_png
from emote.inference.resolve_adapter import ADAPTER_FILE
from emote.sweeps.reports.document import Block, Document, Drawing, Section, Sheet, Table, Text
from emote.sweeps.reports.drawing import Bar, Line, draw_curves
from emote.sweeps.reports.markdown_report import write_markdown
from emote.sweeps.reports.page import as_page
from emote.util.console import echo
from emote.util.files import write_json, write_text
from emote.util.markdown import table

PAGE, MARKDOWN, JSON, IMAGES = "report.html", "report.md", "evaluation.json", "report"
SHOWN, WORST, CLOSEST = 12, 10, 10  # images on sheets
ROUNDING = 1e-9  # what is nearer to 0 is no figure
DASH, TO_BASE = "–", "to the base"


def write_evaluation(result: EvaluationResult) -> Path:
    """Write the page and its files, and what was found of each adapter beside it; says the short of it."""
    output = result.plan.output
    shutil.rmtree(output / IMAGES, ignore_errors=True)
    document = as_document(result, output / IMAGES)
    write_markdown(document, output / MARKDOWN, IMAGES)
    write_text(output / PAGE, as_page(document))
    write_json(output / JSON, as_dict(result))
    echo("\n" + "\n".join(table(*_rows(result))) + "\n")
    for line in answers(result):
        echo(line)
    for adapter in result.adapters:
        _write_beside(result, adapter)
    return output / PAGE


def as_dict(result: EvaluationResult) -> dict[str, Any]:
    """Everything in figures, as JSON."""
    return {
        "format": FORMAT,
        **_facts(result),
        "real": _estimates(result.real.figures),
        "base": _estimates(result.base.figures),
        "adapters": {each.adapter.label: _of_adapter(each) for each in result.adapters},
        "replicates": [
            {
                "runs": group.labels,
                "figures": {key: figure.as_dict() for key, figure in group.figures.items()},
                "to_base": {key: figure.as_dict() for key, figure in group.to_base.items()},
                "recommended": group.recommended.lora_scale if group.recommended else None,
            }
            for group in result.replicates
        ],
        "between_replicates": {
            f"{one.label} − {other.label}": {
                key: figure.as_dict() for key, figure in between_replicates(one, other).items()
            }
            for one, other in combinations(result.replicates, 2)
        },
        "between": {
            f"{one.adapter.label} − {other.adapter.label}": {
                key: figure.as_dict() for key, figure in between(one, other).items()
            }
            for one, other in combinations(result.adapters, 2)
        },
        "costs": result.costs,
    }


def _facts(result: EvaluationResult) -> dict[str, Any]:
    plan = result.plan
    return {
        "base_model": plan.base.label,
        "judge": plan.judge.towers,
        "set": str(plan.data.source),
        "concepts_in_set": result.measures.names.concept_count,
        "prompts": len(plan.prompts),
        "held_out_prompts": sum(prompt.held_out for prompt in plan.prompts),
        "seeds": plan.options.seeds,
        "seed": plan.options.seed,
        "lora_scale": plan.options.lora_scale,
        "guidance_scale": plan.guidance_scale,
        "inference_steps": plan.options.inference_steps,
        "few_steps": plan.options.few_steps,
    }


def _of_adapter(each: AdapterResult) -> dict[str, Any]:
    recommended = each.recommended
    return {
        "figures": _estimates(each.figures),
        "to_base": _estimates(each.to_base),
        "curve": [point.as_dict() for point in each.curve],
        "recommended": None
        if recommended is None
        else {
            "lora_scale": recommended.lora_scale,
            # only where several were tried: a guidance that had no rival is no advice
            "guidance_scale": recommended.guidance_scale if len({p.guidance_scale for p in each.curve}) > 1 else None,
            "reason": recommended.reason,
        },
    }


def _estimates(figures: Figures) -> dict[str, Any]:
    return {key: figure.estimate().as_dict() for key, figure in figures.items()}


def _write_beside(result: EvaluationResult, each: AdapterResult) -> None:
    file = each.adapter.file
    if each.adapter.parts:
        return  # a mix has no place of its own
    if "snapshots" in file.parts and "blobs" in {path.name for path in file.parents[1].parent.parent.glob("*")}:
        echo(f"{each.adapter.label} lies in the Hub's cache: nothing is written beside it")
        return
    path = evaluation_beside(file, ADAPTER_FILE)
    told = {"format": FORMAT, "adapter_hash": each.adapter.short_hash, **_facts(result), **_of_adapter(each)}
    write_json(path, {**told, "real": _estimates(result.real.figures), "base": _estimates(result.base.figures)})
    echo(f"what was found of {each.adapter.label}: {path}")


COPIED = {
    "copies": "nearer to a training image than 99 % of real images of held-out concepts are",
    "copies_trained": "at less than half the distance to a training image that the next concept's has",
}


def answers(result: EvaluationResult) -> list[str]:
    """What one wants to know, in sentences."""
    real, base = result.real.figures["recognised_top5"].value, result.base.figures["recognised_top5"].value
    lines = [
        f"The judge names {real:.0%} of this set's own drawings within five guesses of "
        f"{result.measures.names.concept_count:,} names, and {base:.0%} of the base's images."
    ]
    if real < 0.5:
        lines.append("That is little: differences of what is recognised say less about the adapter than they seem to.")
    replicated = {label for group in result.replicates for label in group.labels}
    for each in result.adapters:
        for key in shows_copies(each.measured, result.plan.drawn_prompts):
            lines.append(
                f"{each.adapter.label} copies: {each.figures[key].value:.0%} of its images are {COPIED[key]}, more "
                "than chance gives. Look at the closest pairs."
            )
        if each.adapter.label not in replicated:
            lines += _strength(each.adapter.label, each.recommended, each.curve)
    for group in result.replicates:
        lines += _strength(group.label, group.recommended, next(iter(group.by_seed.values())).curve)
    return lines


def _strength(label: str, found: Recommended | None, curve: Sequence[CurvePoint]) -> list[str]:
    if found:
        return [f"Recommended strength of {label}: {found.lora_scale:g}; {found.reason}."]
    return [f"No strength of {label} is shown to bring its images nearer to the real style."] if curve else []


def _rows(result: EvaluationResult) -> tuple[list[str], list[list[str]]]:
    head = ["", "real images", "base"]
    for each in result.adapters:
        head += [each.label, TO_BASE]
    rows = []
    for measure in MEASURES.values():
        cells = [measure.title, _cell(result.real.figures, measure), _cell(result.base.figures, measure)]
        for each in result.adapters:
            cells += [_cell(each.figures, measure), difference(each.to_base, measure)]
        if any(cell != DASH for cell in cells[2:]):
            rows.append(cells)
    return head, rows


def _cell(figures: Figures, measure: Measure) -> str:
    return show(figures[measure.key].estimate(), measure) if measure.key in figures else DASH


def difference(figures: Figures, measure: Measure) -> str:
    return show_difference(figures[measure.key].estimate(), measure) if measure.key in figures else DASH


def show(estimate: Estimate, measure: Measure) -> str:
    """A figure with its interval: `81 % (74 to 88)`."""
    if estimate.interval_95 is None:
        return number(estimate.value, measure)
    low, high = estimate.interval_95
    if measure.percent and measure.key not in ("style_share",):
        low, high = max(low, 0.0), high if measure.key.startswith("legible") else min(high, 1.0)
    unit = " %" if measure.percent else ""
    return f"{number(estimate.value, measure)}{unit} ({number(low, measure)} to {number(high, measure)})"


def show_difference(estimate: Estimate, measure: Measure) -> str:
    """With what it means: better, worse, or not shown where 0 is within the interval."""
    value = number(estimate.value, measure)
    text = value if value.startswith("−") else f"+{value}"
    if estimate.interval_95 is None:
        return text
    low, high = estimate.interval_95
    text += f" ({number(low, measure)} to {number(high, measure)})"
    if not estimate.differs_from_zero:
        return f"{text}, not shown"
    if measure.better is Better.neither:
        return text
    return f"{text}, {'better' if (estimate.value > 0) == (measure.better is Better.higher) else 'worse'}"


def number(value: float, measure: Measure) -> str:
    if not np.isfinite(value):
        return DASH
    value = 0.0 if abs(value) < ROUNDING else value
    shown = f"{value * 100:.0f}" if measure.percent else f"{value:.3g}"
    return shown.replace("-", "−") if shown not in ("-0",) else "0"


def _few_steps(result: EvaluationResult) -> str:
    """How those are drawn that draw in a few steps, which is not how the others are."""
    return "".join(
        f"; {each.label} in {result.plan.options.few_steps or few.steps} steps of {few.scheduler}, guidance "
        f"{few.guidance_scale:g}"
        for each in result.adapters
        if (few := each.adapter.few_steps)
    )


def as_document(result: EvaluationResult, images: Path) -> Document:
    """images: a folder for what is shown and lies nowhere yet."""
    plan = result.plan
    labels = [each.label for each in result.adapters]
    held = sum(prompt.held_out for prompt in plan.prompts)
    summary: list[Block] = [Text(line) for line in answers(result)]
    about = (
        f"{len(plan.prompts)} concepts, {held} of them kept from training, {plan.options.seeds} image"
        f"{'s' if plan.options.seeds > 1 else ''} each, {plan.options.inference_steps} steps, guidance "
        f"{plan.guidance_scale:g}, adapters at {plan.options.lora_scale:g}{_few_steps(result)}; base model "
        f"`{plan.base.label}`, judge "
        f"`{plan.judge.towers}`. In brackets 95 % intervals over concepts; differences are paired by concept, prompt "
        "and noise, and “not shown” where 0 is within the interval. Real images are one of each held-out concept."
    )
    head, rows = _rows(result)
    figures = [column for column in range(len(head)) if head[column] != TO_BASE]
    changes = [0, *(column for column in range(len(head)) if head[column] == TO_BASE)]
    sections = [
        Section("Figures", [Text(about), _columns(head, rows, figures)]),
        Section("Difference to the base", [_columns([*head[:1], *_renamed(head)], rows, changes)]),
    ]
    if pairs := list(_pairs(result)):
        sections.append(Section("Between adapters", [_differences_table(pairs)]))
    if result.replicates:
        sections.append(Section("Over seeds", list(_replicate_tables(result))))
    if curve := _curve(result):
        sections.append(Section("By strength", curve))
    sections.append(Section("Base beside adapters", [Text("The same prompt and noise in a row."), *_sheets(result)]))
    sections.append(Section("Closest to training images", [Text(ABOUT_CLOSEST), *_closest(result, images)]))
    sections.append(Section("The worst by each measure", list(_worst(result))))
    sections.append(Section("What it cost", [Text(_cost(result))]))
    return Document(f"Evaluation of {', '.join(labels)}", summary, sections)


def _renamed(head: Sequence[str]) -> list[str]:
    """The columns of differences called as what they are of."""
    return [head[column - 1] if name == TO_BASE else name for column, name in enumerate(head)][1:]


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]], chosen: Sequence[int]) -> Table:
    """Some columns of a table, without the rows that say nothing in them."""
    kept = [[row[column] for column in chosen] for row in rows]
    return Table([head[column] for column in chosen], [row for row in kept if any(c != DASH for c in row[1:])])


ABOUT_CLOSEST = (
    "Left what was drawn, right the training image that it is nearest to, whatever its position by a few pixels. Real "
    "images have near twins too (clocks, squares): look whether the figure or its details were copied."
)


def _pairs(result: EvaluationResult) -> Iterator[tuple[str, dict[str, Estimate]]]:
    """Differences between adapters, but for those that are replicates: these are compared recipe by recipe."""
    replicated = {label for group in result.replicates for label in group.labels}
    for one, other in combinations(result.adapters, 2):
        if not {one.adapter.label, other.adapter.label} <= replicated:
            yield f"{one.label} − {other.label}", between(one, other)


def _differences_table(pairs: Sequence[tuple[str, dict[str, Estimate]]]) -> Table:
    """A column for each pair."""
    rows = [
        [measure.title, *(show_difference(f[measure.key], measure) if measure.key in f else DASH for _, f in pairs)]
        for measure in MEASURES.values()
        if any(measure.key in found for _, found in pairs)
    ]
    return Table(["", *(name for name, _ in pairs)], rows)


def _replicate_tables(result: EvaluationResult) -> Iterator[Block]:
    for group in result.replicates:
        yield Text(
            f"Mean of {len(group.labels)} runs that differ by their seed alone ({', '.join(group.labels)}); intervals "
            "are about other concepts and other seeds. None of them is better than another."
        )
        rows = [
            [
                measure.title,
                show(group.figures[measure.key], measure),
                show_difference(group.to_base[measure.key], measure) if measure.key in group.to_base else DASH,
            ]
            for measure in MEASURES.values()
            if measure.key in group.figures
        ]
        yield Table(["", "mean", "to the base"], rows)
    pairs = [
        (f"{one.label} − {other.label}", between_replicates(one, other))
        for one, other in combinations(result.replicates, 2)
    ]
    if pairs:
        yield Text("Between these, paired by seed, concept, prompt and noise.")
        yield _differences_table(pairs)


def _curve(result: EvaluationResult) -> list[Block]:
    lines, rows = [], []
    for each in result.adapters:
        guidances = sorted({point.guidance_scale for point in each.curve})
        for guidance in guidances:
            points = [point for point in each.curve if point.guidance_scale == guidance]
            label = each.label if len(guidances) == 1 else f"{each.label}, guidance {guidance:g}"
            base = points[0].base["recognised_top5"].value
            bars = [
                Bar(point.share.value, point.recognised.value, point.recognised.estimate().interval_95)
                for point in points
            ]
            lines.append(Line(label, [(0.0, base), *((bar.x, bar.y) for bar in bars)], bars))
            rows += [
                [
                    label,
                    f"{point.lora_scale:g}",
                    show(point.recognised.estimate(), MEASURES["recognised_top5"]),
                    show(point.share.estimate(), MEASURES["style_share"]),
                    f"{point.score.value:.2f}",
                ]
                for point in points
            ]
    if not lines:
        return []
    text = (
        "Each line begins at the base model; its dots are strengths, weakest first. What one wants is far right and "
        "high up. The recommended strength is the nearest to the real style of those that keep nine tenths of what "
        "is recognised in the base's images; the score is the harmonic mean of what is kept and the share of the way."
    )
    titles = ("share of the way to the real style", "recognised within five")
    wide, narrow = (draw_curves(lines, *titles, narrow) for narrow in (False, True))
    head = ["adapter", "strength", "recognised within five", "share of the way", "score"]
    drawing = Drawing("by-strength.svg", wide, "recognised against in style, by strength", narrow)
    return [Text(text), drawing, Table(head, rows)]


def _sheets(result: EvaluationResult) -> Iterator[Sheet]:
    prompts = result.plan.drawn_prompts
    for title, held_out in (("Concepts that were kept from training", True), ("Training concepts", False)):
        rows = [row for row, prompt in enumerate(prompts) if prompt.held_out == held_out][:SHOWN]
        if rows:
            yield _sheet(result, title, rows, [prompts[row].text for row in rows])


def _sheet(result: EvaluationResult, title: str, rows: Sequence[int], labels: Sequence[str]) -> Sheet:
    columns = ["base model", *(each.label for each in result.adapters)]
    files = [
        (label, [result.base_drawn[row].file, *(each.drawn[row].file for each in result.adapters)])
        for label, row in zip(labels, rows, strict=True)
    ]
    name = "".join(letter if letter.isalnum() else "-" for letter in title.lower())[:60].strip("-")
    return Sheet(f"{name}.png", title, columns, files)


def _closest(result: EvaluationResult, images: Path) -> Iterator[Block]:
    training = result.plan.reference.training
    prompts = result.plan.drawn_prompts
    for number, each in enumerate(result.adapters):
        rows: list[tuple[str, Sequence[Path | None]]] = []
        for pair in closest_pairs(each.measured.nearest, CLOSEST):
            file = images / f"nearest-{number}-{pair.training}.png"
            save_png(_as_rgb(training.images[pair.training]), file)
            label = f"{prompts[pair.image].text} · {training.names[pair.training]}, distance {pair.distance:.3f}"
            rows.append((label, [each.drawn[pair.image].file, file]))
        title = f"The {len(rows)} closest of {each.label}"
        yield Sheet(f"closest-{number}.png", title, ["drawn", "training image"], rows)


def _as_rgb(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def _worst(result: EvaluationResult) -> Iterator[Block]:
    prompts = result.plan.drawn_prompts
    for each in result.adapters:
        measured, label = each.measured, each.label
        order = np.argsort(-measured.ranks_N, kind="stable")[:WORST]
        labels = [f"{prompts[row].text}: rank {measured.ranks_N[row]:.0f}, taken for {measured.guesses[row]}"
                  for row in order]  # fmt: skip
        yield _sheet(result, f"Least recognised, {label}", list(order), labels)
        odd_N = result.measures.oddness([one.image for one in each.drawn])
        order = np.argsort(-odd_N, kind="stable")[:WORST]
        yield _sheet(result, f"Least in style, {label}", list(order), [prompts[row].text for row in order])
        broken = [row for row, found in enumerate(measured.usable) if not found][:WORST]
        if broken:
            labels = [f"{prompts[row].text}: {measured.usable[row].problem}" for row in broken]
            yield _sheet(result, f"Not usable, {label}", broken, labels)


def _cost(result: EvaluationResult) -> str:
    costs = result.costs
    memory = costs["peak_memory_bytes"]
    peak = (memory["device"] or memory["host"]) / 1e9
    return (
        f"{costs['seconds']:.0f} s, of which {costs['seconds_drawing']:.0f} s to draw {costs['images_drawn']} images "
        f"(what was drawn before was read); peak memory {peak:.1f} GB."
    )
