"""`emote pack`: draw images or read them, cut them out, write the packs, and print where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from PIL import Image

from emote.config import Precision
from emote.data.images import BadImage, decode, suffixes
from emote.imaging.cutout import cut_out, parse_background
from emote.imaging.fitting import fit
from emote.inference.options import Options
from emote.inference.output import Output, slug
from emote.inference.plan import BASE_ALONE, Plan, plan_images
from emote.inference.png_metadata import CHUNK, read_parameters, save_png
from emote.inference.prompt_template import PLACE, choose_template, prompts_of
from emote.inference.resolve_adapter import BASE_LICENCES, find_adapter
from emote.packs.options import PackOptions
from emote.packs.pack import SHEET, PackItem, write_pack
from emote.runs.find import LATEST
from emote.util.console import make_console, progress_bar
from emote.util.errors import ConfigError

IMAGES = "images"  # the uncut drawings: throw away what is bad and set images= to pack the rest
SVG_PX = 512
ONLY_WHEN_DRAWING = ("run", "model", "prompts", "template", "negative_prompt", "n", "seed", "inference_steps",
                     "guidance_scale", "scheduler", "lora_scale", "batch_size")  # fmt: skip
console = make_console()


def pack(options: PackOptions) -> int:
    """Write a pack for each platform and print the paths; 1 where an image had to be left out. Raises ConfigError."""
    parse_background(options.background)
    if not options.platforms:
        raise ConfigError("platforms must name one, got nothing; set platforms=slack")
    zips = [f"{platform.name}.zip" for platform in options.platforms]
    if options.images:
        output = Output(Path(options.output) if options.output else None, f"pack-{slug(Path(options.images).name)}")
        output.check(zips)
        found = _read(options)
    else:
        plan = _plan(options)
        output = Output(Path(options.output) if options.output else None, f"pack-{slug(plan.shots[0].typed)}")
        output.check(zips)
        found = _draw(plan, options, output)
    items, problems = [], []
    for name, item in found:
        try:
            fit(item.image, 1, is_square=False)
        except ConfigError as error:
            problems.append(f"{name} is left out: {error}")
            continue
        if item.image.getchannel("A").getextrema()[0] == 255:
            problems.append(f"{name} has no plain background that could be cut away, and is packed with what it has")
        items.append(item)
    for problem in problems:
        console.print(f"warning: {problem}", markup=False)
    if not items:
        raise ConfigError("there is no image to pack")
    with progress_bar(console) as bar:
        task = bar.add_task("packing", total=len(items) * len(options.platforms), note="")
        written = write_pack(
            items, options.platforms, output.path("."), on_image=lambda done: bar.update(task, completed=done)
        )
    for path in (output.path(SHEET), *written):
        console.print(str(path), markup=False)
    return 1 if problems else 0


def _plan(options: PackOptions) -> Plan:
    prompts = prompts_of(options.prompts)
    if not prompts and options.run != BASE_ALONE and not (options.model and options.run is None):
        adapter = find_adapter(options.run or LATEST, Path(options.runs_dir))
        template = choose_template(options.template, adapter.caption)
        prompts = [_bare(prompt, template) for prompt in adapter.prompts]
    if not prompts:
        raise ConfigError("prompts must say what to draw, got nothing; set prompts=[a fairy, a robot], or images=")
    plan = plan_images(
        Options(
            run=options.run, model=options.model, prompts=prompts, template=options.template,
            negative_prompt=options.negative_prompt, n=options.n, seed=options.seed,
            inference_steps=options.inference_steps, guidance_scale=options.guidance_scale,
            scheduler=options.scheduler, lora_scale=options.lora_scale, batch_size=options.batch_size,
            runs_dir=options.runs_dir, cache_dir=options.cache_dir, device=options.device, precision=options.precision,
        )
    )  # fmt: skip
    return plan


def _bare(prompt: str, template: str | None) -> str:
    """`An emoji of a fairy` without the words of the template: emoji are named by what differs."""
    before, _, after = (template or PLACE).partition(PLACE)
    return prompt.removeprefix(before).removesuffix(after).strip() or prompt


def _draw(plan: Plan, options: PackOptions, output: Output) -> Iterator[tuple[str, PackItem]]:
    from emote.util.quiet import quiet_libraries

    quiet_libraries()
    from emote.inference.image_generator import ImageGenerator  # late: it imports torch

    precision = plan.precision if options.precision is Precision.auto else options.precision
    image_generator = ImageGenerator(plan.base, options.device.value, precision)
    image_generator.use(plan.adapter)
    model = f"{plan.adapter.label} on {plan.base.label}" if plan.adapter else plan.base.label
    console.print(f"{model}, {image_generator.precision.name} on {image_generator.device.type}", markup=False)
    for note in plan.notes:
        console.print(note, markup=False)
    licence = plan.adapter.licence if plan.adapter else BASE_LICENCES.get(plan.base.config.path, "")
    with progress_bar(console) as bar:
        task = bar.add_task("drawing", total=None, note="")

        def on_step(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of)

        drawn = {}
        for one in image_generator.draw_each([shot.request for shot in plan.shots], batch=plan.batch, on_step=on_step):
            save_png(one.image, output.path(f"{IMAGES}/{plan.shots[one.index].name}"))
            drawn[one.index] = one
    _say_unrecognised(plan, [drawn[index].image for index in range(len(plan.shots))])
    for index, shot in enumerate(plan.shots):
        item = PackItem(
            prompt=shot.typed,
            seed=shot.request.seed,
            image=cut_out(drawn[index].image, options.background),
            model=model,
            licence=options.licence if options.licence is not None else licence,
        )
        yield shot.name, item


def _say_unrecognised(plan: Plan, images: list[Image.Image]) -> None:
    """A word on each drawing that nobody may recognise at the size at which it is read; they are packed all the same.

    Nothing is said where there is no judge on this machine.
    """
    from emote.inference.best_of import PromptJudge  # late: it imports transformers

    with suppress(ConfigError):
        judge = PromptJudge(plan.base.config.path, "cpu", fetch=False)
        for typed in dict.fromkeys(shot.typed for shot in plan.shots):
            rows = [row for row, shot in enumerate(plan.shots) if shot.typed == typed]
            for found in judge.rank(typed, [images[row] for row in rows]):
                if not found.recognised:
                    name = plan.shots[rows[found.index]].name
                    console.print(f"note: {name} may not be read: {found}", markup=False)


def _read(options: PackOptions) -> Iterator[tuple[str, PackItem]]:
    """Images of a folder: transparent ones as they are, others cut out. Said text: of what the PNG itself says."""
    folder = Path(options.images or "")
    unused = [name for name in ONLY_WHEN_DRAWING if getattr(options, name) != getattr(PackOptions(), name)]
    if unused:
        raise ConfigError(f"{', '.join(unused)} say nothing beside images=, which packs images that exist")
    if not folder.is_dir():
        raise ConfigError(f"images must be a folder with images, got {folder}")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes())
    if not files:
        raise ConfigError(f"images={folder} has no images")
    for file in files:
        try:
            image = decode(file.read_bytes(), svg_size_px=SVG_PX)
        except BadImage as error:
            raise ConfigError(f"images: {file}: {error}") from error
        if image.getchannel("A").getextrema()[0] == 255:
            image = cut_out(image, options.background)
        yield file.name, _described(file, image, options.licence or "")


def _described(file: Path, image: Image.Image, licence: str) -> PackItem:
    try:
        with Image.open(file) as opened:
            opened.load()
            known = read_parameters(str(opened.info[CHUNK]))
    except (ConfigError, KeyError, OSError):  # not ours, and SVGs
        return PackItem(file.stem.replace("_", " "), None, image, "", licence)
    return PackItem(known.request.prompt, known.request.seed, image, known.run or known.model, licence)
