"""From the user's words to what exactly is drawn, and every mistake in them, before a weight is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from emote.config import Precision
from emote.diffusion.few_steps import advice
from emote.diffusion.samplers import scheduler_named
from emote.inference.options import Options
from emote.inference.output import SHEET, Output, slug
from emote.inference.prompt_template import SIGNS, choose_template, in_template, prompts_of
from emote.inference.request import Request
from emote.inference.resolve_adapter import GUIDANCE, Adapter, find_adapter
from emote.models.presets import Base, find_base, model_named
from emote.runs.find import LATEST
from emote.util.errors import ConfigError, together

T = TypeVar("T")
BASE_ALONE = "base"
STEPS, SCHEDULER = 25, "dpm++"  # where neither a word nor the adapter says otherwise


@dataclass(frozen=True)
class Shot:
    """One image to draw: its request, file and place on the sheet. typed: the prompt as the user has it."""

    request: Request
    name: str
    typed: str
    variant: str


@dataclass(frozen=True)
class Plan:
    """Everything that is known before a weight is loaded.

    best_of: whether only those are kept that are recognised. repeated: the image that is drawn again, and
    batch_position its place in a batch.
    """

    base: Base
    adapter: Adapter | None
    shots: list[Shot]
    variants: list[str]
    output: Output
    batch: int | None
    transparent: bool
    precision: Precision = Precision.auto
    notes: tuple[str, ...] = ()
    best_of: bool = False
    repeated: Path | None = None
    batch_position: int = 0


class Mistakes:
    """Collects what is wrong, so that all of it is said at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def collect(self, attempt: Callable[[], T]) -> T | None:
        try:
            return attempt()
        except ConfigError as error:
            self.lines += [line for line in str(error).splitlines() if line not in self.lines]
            return None

    def complain(self) -> None:
        if self.lines:
            raise ConfigError(together(self.lines, "nothing was drawn"))


def plan_images(options: Options) -> Plan:
    """Raises ConfigError with every mistake."""
    wrong = Mistakes()
    adapter = wrong.collect(lambda: _adapter(options))
    base = wrong.collect(lambda: _base(options, adapter)) if not wrong.lines else None
    template = wrong.collect(lambda: choose_template(options.template, adapter.caption if adapter else None))
    read = [wrong.collect(lambda text=text: prompts_of([text])) or [] for text in options.prompts]  # type: ignore[misc]
    prompts = [prompt for found in read for prompt in found]
    size = wrong.collect(lambda: _size(options.size, adapter, base))
    if not options.prompts:
        wrong.lines.append("prompts must say what to draw, got nothing; set prompts='[a fairy]'")
    variants = _variants(options, adapter, wrong)
    output = Output(Path(options.output) if options.output else None, slug(prompts[0]) if prompts else "")
    shots: list[Shot] = []
    width, height = size or (1, 1)
    settings = {scale: settings_at(options, adapter if scale else None, adapter) for scale in variants.values()}
    for i, typed in enumerate(prompts):
        words = in_template(typed, template) if typed.strip() else typed
        request = wrong.collect(
            lambda words=words: Request(  # type: ignore[misc]
                prompt=words, seed=options.seed, width=width, height=height, negative_prompt=options.negative_prompt,
                **next(reversed(settings.values())),
            )
        )  # fmt: skip
        if request is None:
            continue
        prefix = f"{i + 1:02d}-" if len(prompts) > 1 else ""
        for seed in range(options.seed, options.seed + (options.best_of or options.n)):
            for variant, scale in variants.items():
                suffix = f"-{variant.replace(' ', '-')}" if len(variants) > 1 else ""
                name = f"{prefix}{slug(typed)}-seed{seed}{suffix}.png"
                shots.append(
                    Shot(replace(request, seed=seed, lora_scale=scale, **settings[scale]), name, typed, variant)
                )
    if options.best_of and len(variants) > 1:
        wrong.lines.append("best_of says nothing beside compare= or lora_scales=; leave one out")
    wrong.collect(lambda: output.check([*(shot.name for shot in shots), SHEET]))
    if base and size:
        wrong.collect(lambda: base.check_size(width, height))
    wrong.complain()
    assert base is not None
    return Plan(
        base, adapter, shots, list(variants), output, options.batch_size, options.transparent,
        notes=_notes(options, adapter, next(reversed(settings.values())), prompts), best_of=options.best_of is not None,
    )  # fmt: skip


def settings_at(options: Options, adapter: Adapter | None, beside: Adapter | None = None) -> dict[str, Any]:
    """Return sampler, steps, guidance and eta for a Request: what is typed, else what the adapter is drawn with.

    beside: the adapter that a base model's image is compared with; guidance is then that of its run.
    """
    few = adapter.few_steps if adapter else None
    if few:
        own = few.settings()
    else:
        alike = adapter or beside
        guided = alike is not None and (not alike.few_steps or alike.guidance_scale > 1)
        own = {"inference_steps": STEPS, "guidance_scale": alike.guidance_scale if alike and guided else GUIDANCE,
               "scheduler": SCHEDULER, "eta": None}  # fmt: skip
    typed = {name: getattr(options, name) for name in own if getattr(options, name) is not None}
    if typed.get("scheduler", own["scheduler"]) != own["scheduler"]:
        own["eta"] = None  # it is the other sampler's
    return own | typed


def _notes(options: Options, adapter: Adapter | None, settings: dict[str, Any], prompts: list[str]) -> tuple[str, ...]:
    guidance = settings["guidance_scale"]
    notes = [
        f"{found[0]} is read as plain words: prompts have no signs of other programs such as weights, BREAK or <lora:…>"
        for prompt in dict.fromkeys([*prompts, options.negative_prompt])
        if (found := SIGNS.search(prompt))
    ]
    if options.negative_prompt and guidance <= 1:
        notes.append(f"negative_prompt has no effect at guidance_scale={guidance:g}; set it above 1")
    notes += advice(
        adapter.few_steps if adapter else None, scheduler_named(settings["scheduler"]), settings["inference_steps"],
        guidance, options.eta,
    )  # fmt: skip
    if adapter and adapter.recommended and options.lora_scale is None and not options.lora_scales:
        notes.append(f"strength {adapter.lora_scale:g} (lora_scale= changes it): {adapter.recommended}")
    return tuple(notes)


def _adapter(options: Options) -> Adapter | None:
    """No run and no model means the newest run; a model alone means the base model."""
    model = model_named(options.model) if options.model else None
    if options.run == BASE_ALONE or (options.run is None and model):
        return None
    return find_adapter(options.run if options.run is not None else LATEST, Path(options.runs_dir), model)


def _base(options: Options, adapter: Adapter | None) -> Base:
    model = adapter.base if adapter else model_named(options.model or "mini")
    return find_base(model, Path(options.cache_dir))


def _size(asked: str | None, adapter: Adapter | None, base: Base | None) -> tuple[int, int] | None:
    if asked is None:
        side = adapter.resolution if adapter else base.side_px if base else None
        return (side, side) if side else None
    parts = asked.lower().replace("×", "x").split("x")
    if len(parts) > 2 or not all(part.strip().isdecimal() for part in parts):
        raise ConfigError(f"size must be a number of pixels or width x height such as 64x96, got {asked or 'nothing'}")
    return int(parts[0]), int(parts[-1])


def _variants(options: Options, adapter: Adapter | None, wrong: Mistakes) -> dict[str, float]:
    """What is drawn of each prompt and seed: the columns' names and their LoRA scales."""
    if adapter is None:
        for name in ("compare", "lora_scales"):
            if getattr(options, name):
                wrong.lines.append(f"{name} needs an adapter beside the base model; set run=")
        return {"": 0.0}
    if options.lora_scales:
        if options.lora_scale is not None:
            wrong.lines.append(f"lora_scale={options.lora_scale} has no effect beside lora_scales=; leave one out")
        return {"base": 0.0} | {f"scale {scale:g}": scale for scale in options.lora_scales if scale}
    scale = adapter.lora_scale if options.lora_scale is None else options.lora_scale
    if options.compare:
        return {"base": 0.0, "fine-tuned" if scale == 1 else f"scale {scale:g}": scale}
    return {"": scale}
