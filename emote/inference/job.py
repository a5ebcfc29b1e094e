"""`scripts/generate.py`: draw what is planned, write it, and print where it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from emote.config import Precision
from emote.inference.options import Options
from emote.inference.output import SHEET
from emote.inference.plan import Plan, plan_pictures
from emote.inference.png_metadata import save_png
from emote.inference.redraw import compare, plan_repeat
from emote.util.progress import progress_bar

if TYPE_CHECKING:
    from PIL import Image

    from emote.inference.image_generator import Studio

SHEET_WIDTH_PX = 1300
LARGEST_CELL_PX = 256
console = Console(highlight=False, soft_wrap=True)


def generate(options: Options) -> int:
    """Draw what is asked for and print where it lies; 1 where a picture came out as none. Raises ConfigError."""
    plan = plan_repeat(options) if options.from_image else plan_pictures(options)
    from emote.util.quiet import quiet_libraries

    quiet_libraries()
    from emote.inference.image_generator import Studio  # late: it imports torch

    precision = plan.precision if options.precision is Precision.auto else options.precision
    studio = Studio(plan.base, options.device.value, precision)
    studio.use(plan.adapter)
    _say_plan(plan, studio)
    pictures, problems = _draw(plan, studio)
    if plan.repeated:
        console.print(compare(plan.repeated, pictures[0]), markup=False)
    elif len(plan.shots) > 1:
        path = plan.output.path(SHEET)
        save_png(_sheet(plan, pictures), path)
        console.print(str(path), markup=False)
    for problem in problems:
        console.print(f"warning: {problem}", markup=False)
    return 1 if problems else 0


def _say_plan(plan: Plan, studio: Studio) -> None:
    first = plan.shots[0].request
    what = f"{plan.adapter.label} on {plan.base.label}" if plan.adapter else plan.base.label
    console.print(f"{what}, {studio.precision.name} on {studio.device.type}", markup=False)
    seeds = sorted({shot.request.seed for shot in plan.shots})
    several = f"s {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f" {seeds[0]}"
    console.print(
        f"{first.inference_steps} steps of {first.scheduler}, guidance {first.guidance_scale:g}, seed{several}, "
        f"{first.width}×{first.height} px",
        markup=False,
    )
    for typed, words in dict.fromkeys((shot.typed, shot.request.prompt) for shot in plan.shots):
        console.print(words if words == typed else f"{words}   (template=none takes {typed!r} as typed)", markup=False)
    texts = {shot.request.prompt: None for shot in plan.shots} | {first.negative_prompt: None}
    notes = [*plan.notes]
    for text in texts:
        if cut := studio.cut_words(text):
            notes.append(f"longer than the {studio.tokens_read} tokens that the model reads; it was cut before: {cut}")
    for note in notes:
        console.print(f"note: {note}", markup=False)


def _draw(plan: Plan, studio: Studio) -> tuple[list[Image.Image], list[str]]:
    """Pictures in the order of the shots, each written as soon as it is there; and what went wrong."""
    pictures: dict[int, Image.Image] = {}
    problems = []
    with progress_bar(console) as bar:
        task = bar.add_task("drawing", total=None, note="")

        def on_step(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of)

        for drawn in studio.draw_each([shot.request for shot in plan.shots], batch=plan.batch, on_step=on_step):
            if plan.repeated and drawn.batch_position != plan.batch_position:
                continue
            picture = _cut_out(drawn.picture) if plan.transparent else drawn.picture
            index = 0 if plan.repeated else drawn.index
            pictures[index] = picture
            path = plan.output.path(plan.shots[index].name)
            save_png(picture, path)
            console.print(str(path), markup=False)
            bar.update(task, note=f"{len(pictures)} of {len(plan.shots)} pictures")
            if drawn.problem:
                problems.append(f"{path}: {drawn.problem}")
    return [pictures[index] for index in sorted(pictures)], problems


def _cut_out(picture: Image.Image) -> Image.Image:
    from emote.imaging.cutout import cut_out  # late: it imports the matting

    cut = cut_out(picture)
    cut.info |= picture.info
    return cut


def _sheet(plan: Plan, pictures: list[Image.Image]) -> Image.Image:
    from emote.imaging.sheet import CELL, GAP, variants_sheet

    count = len(plan.variants)
    first = plan.shots[0].request
    cell = min(max(CELL, first.width, first.height), LARGEST_CELL_PX)
    fitting = max(1, (SHEET_WIDTH_PX - GAP) // (count * (cell + 4) - 4 + GAP))
    seeds = len({shot.request.seed for shot in plan.shots})
    groups = plan.shots[::count]
    several = len({shot.typed for shot in groups}) > 1
    return variants_sheet(
        [pictures[i::count] for i in range(count)],
        plan.variants,
        [shot.typed for shot in groups],
        [shot.request.seed for shot in groups],
        f"{plan.adapter.label if plan.adapter else plan.base.label} · {first.inference_steps} steps of "
        f"{first.scheduler} · guidance {first.guidance_scale:g}",
        columns=seeds if several and seeds <= fitting else fitting,
        cell=cell,
    )
