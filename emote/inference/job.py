"""`emote generate`: draw what is planned, write it, and print where it lies."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from emote.config import Precision
from emote.inference.options import Options
from emote.inference.output import SHEET
from emote.inference.plan import Plan, plan_images
from emote.inference.png_metadata import save_png
from emote.inference.redraw import compare, plan_repeat
from emote.util.console import make_console, progress_bar

if TYPE_CHECKING:
    from PIL import Image

    from emote.inference.image_generator import ImageGenerator
    from emote.inference.request import Request

SHEET_WIDTH_PX = 1300
LARGEST_CELL_PX = 256
console = make_console()


def generate(options: Options) -> int:
    """Draw what is asked for and print where it lies; 1 where an image came out as none. Raises ConfigError."""
    plan = plan_repeat(options) if options.from_image else plan_images(options)
    from emote.util.quiet import quiet_libraries

    quiet_libraries()
    from emote.inference.image_generator import ImageGenerator  # late: it imports torch

    precision = plan.precision if options.precision is Precision.auto else options.precision
    image_generator = ImageGenerator(plan.base, options.device.value, precision)
    image_generator.use(plan.adapter)
    _say_plan(plan, image_generator)
    if plan.best_of:
        plan, images, problems = _draw_best(plan, image_generator)
    else:
        images, problems = _draw(plan, image_generator)
    if plan.repeated:
        console.print(compare(plan.repeated, images[0]), markup=False)
    elif len(plan.shots) > 1:
        path = plan.output.path(SHEET)
        save_png(_sheet(plan, images), path)
        console.print(str(path), markup=False)
    for problem in problems:
        console.print(f"warning: {problem}", markup=False)
    return 1 if problems else 0


def _say_plan(plan: Plan, image_generator: ImageGenerator) -> None:
    first = plan.shots[0].request
    what = f"{plan.adapter.label} on {plan.base.label}" if plan.adapter else plan.base.label
    console.print(f"{what}, {image_generator.precision.name} on {image_generator.device.type}", markup=False)
    seeds = sorted({shot.request.seed for shot in plan.shots})
    several = f"s {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f" {seeds[0]}"
    for how in dict.fromkeys(_how(shot.request) for shot in plan.shots):  # a speed adapter's is not the base model's
        console.print(f"{how}, seed{several}, {first.width}×{first.height} px", markup=False)
    for typed, words in dict.fromkeys((shot.typed, shot.request.prompt) for shot in plan.shots):
        console.print(words if words == typed else f"{words}   (template=none takes {typed!r} as typed)", markup=False)
    texts = {shot.request.prompt: None for shot in plan.shots} | {first.negative_prompt: None}
    notes = [*plan.notes]
    for text in texts:
        if cut := image_generator.cut_words(text):
            notes.append(
                f"longer than the {image_generator.tokens_read} tokens that the model reads; it was cut before: {cut}"
            )
    for note in notes:
        console.print(f"note: {note}", markup=False)


def _how(request: Request) -> str:
    return f"{request.inference_steps} steps of {request.scheduler}, guidance {request.guidance_scale:g}"


def _draw(plan: Plan, image_generator: ImageGenerator) -> tuple[list[Image.Image], list[str]]:
    """Images in the order of the shots, each written as soon as it is there; and what went wrong."""
    images: dict[int, Image.Image] = {}
    problems = []
    with progress_bar(console) as bar:
        task = bar.add_task("drawing", total=None, note="")

        def on_step(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of)

        for drawn in image_generator.draw_each(
            [shot.request for shot in plan.shots], batch=plan.batch, on_step=on_step
        ):
            if plan.repeated and drawn.batch_position != plan.batch_position:
                continue
            image = _cut_out(drawn.image) if plan.transparent else drawn.image
            index = 0 if plan.repeated else drawn.index
            images[index] = image
            path = plan.output.path(plan.shots[index].name)
            save_png(image, path)
            console.print(str(path), markup=False)
            bar.update(task, note=f"{len(images)} of {len(plan.shots)} images")
            if drawn.problem:
                problems.append(f"{path}: {drawn.problem}")
    return [images[index] for index in sorted(images)], problems


def _draw_best(plan: Plan, image_generator: ImageGenerator) -> tuple[Plan, list[Image.Image], list[str]]:
    """Of each prompt's drawings those that are recognised, written; the plan without the others. Says all scores."""
    from emote.inference.best_of import PromptJudge, keep  # late: it imports transformers

    judge = PromptJudge(plan.base.config.path, image_generator.device)  # first, so that a missing one costs no drawing
    problems = []
    with progress_bar(console) as bar:
        task = bar.add_task("drawing", total=None, note="")

        def on_step(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of)

        requests = [shot.request for shot in plan.shots]
        drawn = {one.index: one for one in image_generator.draw_each(requests, batch=plan.batch, on_step=on_step)}
    kept: list[int] = []
    for typed in dict.fromkeys(shot.typed for shot in plan.shots):
        rows = [row for row, shot in enumerate(plan.shots) if shot.typed == typed and not drawn[row].problem]
        problems += [drawn[row].problem for row, shot in enumerate(plan.shots)
                     if shot.typed == typed and drawn[row].problem]  # fmt: skip
        scored = judge.rank(typed, [drawn[row].image for row in rows]) if rows else []
        chosen = keep(scored)
        for one in scored:
            seed = plan.shots[rows[one.index]].request.seed
            console.print(f"{typed}, seed {seed}: {one}{'' if one in chosen else '; left out'}", markup=False)
        kept += [rows[one.index] for one in chosen]
    images = []
    for row in kept:
        image = _cut_out(drawn[row].image) if plan.transparent else drawn[row].image
        path = plan.output.path(plan.shots[row].name)
        save_png(image, path)
        console.print(str(path), markup=False)
        images.append(image)
    return replace(plan, shots=[plan.shots[row] for row in kept]), images, problems


def _cut_out(image: Image.Image) -> Image.Image:
    from emote.imaging.cutout import cut_out  # late: it imports the matting

    cut = cut_out(image)
    cut.info |= image.info
    return cut


def _sheet(plan: Plan, images: list[Image.Image]) -> Image.Image:
    from emote.imaging.sheet import CELL, GAP, variants_sheet

    count = len(plan.variants)
    first = plan.shots[0].request
    cell = min(max(CELL, first.width, first.height), LARGEST_CELL_PX)
    fitting = max(1, (SHEET_WIDTH_PX - GAP) // (count * (cell + 4) - 4 + GAP))
    seeds = len({shot.request.seed for shot in plan.shots})
    groups = plan.shots[::count]
    several = len({shot.typed for shot in groups}) > 1
    return variants_sheet(
        [images[i::count] for i in range(count)],
        plan.variants,
        [shot.typed for shot in groups],
        [shot.request.seed for shot in groups],
        f"{plan.adapter.label if plan.adapter else plan.base.label} · {_how(plan.shots[-1].request)}",
        columns=seeds if several and seeds <= fitting else fitting,
        cell=cell,
    )
