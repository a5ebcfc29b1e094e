"""`from_image=`: draw an image again from what is written in it, and say whether it came out the same."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from PIL import Image

from emote.inference.options import Options
from emote.inference.output import Output, slug
from emote.inference.plan import Mistakes, Plan, Shot
from emote.inference.png_metadata import Parameters, read_parameters
from emote.inference.resolve_adapter import Adapter, adapters_with_hash, find_adapter
from emote.models.presets import Base, find_base, model_named
from emote.util.errors import ConfigError

BESIDE = {"from_image", "run", "model", "output", "runs_dir", "cache_dir", "device", "precision"}


def plan_repeat(options: Options) -> Plan:
    """Return the image again, in the same place of a batch of the same size. Raises ConfigError."""
    file = Path(options.from_image or "")
    wrong = Mistakes()
    for entry in fields(Options):
        if entry.name not in BESIDE and getattr(options, entry.name) != getattr(Options(), entry.name):
            wrong.lines.append(f"{entry.name} must be left out beside from_image=, which repeats an image as it was")
    parameters = wrong.collect(lambda: read_parameters(file))
    wrong.complain()
    assert parameters is not None
    adapter, notes = _adapter_of(parameters, options)
    base = _base_of(parameters, options, adapter)
    if parameters.model_hash and parameters.model_hash != base.short_hash:
        notes.append(f"the base model is another one now ({base.short_hash}, it was {parameters.model_hash})")
    base.check_size(parameters.request.width, parameters.request.height)
    name = f"{slug(file.stem)}.png"
    output = Output(Path(options.output) if options.output else None, slug(file.stem))
    output.check([name])
    return Plan(
        base,
        adapter,
        [Shot(parameters.request, name, parameters.request.prompt, "")] * parameters.batch_size,
        variants=[""],
        output=output,
        batch=parameters.batch_size,
        transparent=_has_alpha(file),
        precision=parameters.precision,
        notes=tuple(notes),
        repeated=file,
        batch_position=parameters.batch_position,
    )


def _adapter_of(parameters: Parameters, options: Options) -> tuple[Adapter | None, list[str]]:
    if not parameters.lora:
        if options.run:
            raise ConfigError(f"from_image={options.from_image} was drawn without an adapter; leave run= out")
        return None, []
    runs_dir, model = Path(options.runs_dir), model_named(options.model) if options.model else None
    wanted = parameters.lora_hash
    if parameters.mix:
        adapter = find_adapter(options.run or parameters.run, runs_dir, model)
        same = [digest for *_, digest in parameters.mix] == [part.short_hash for part, _ in adapter.parts]
        return adapter, [] if same else [f"{adapter.label} are other adapters than those that drew it"]
    if options.run:
        adapter = find_adapter(options.run, runs_dir, model)
        same = not wanted or adapter.short_hash == wanted
        return adapter, [] if same else [f"{adapter.label} is another adapter ({adapter.short_hash}, it was {wanted})"]
    for adapter in adapters_with_hash(wanted, runs_dir) if wanted else ():
        return (replace(adapter, base=model) if model else adapter), []
    if parameters.run:
        try:
            adapter = find_adapter(parameters.run, runs_dir, model)
        except ConfigError:
            pass
        else:
            if not wanted or adapter.short_hash == wanted:
                return adapter, []
    raise ConfigError(
        f"from_image={options.from_image} was drawn with the adapter {parameters.run or parameters.lora} "
        f"({wanted or 'no hash'}), which is not in {runs_dir}; set run="
    )


def _base_of(parameters: Parameters, options: Options, adapter: Adapter | None) -> Base:
    cache_dir = Path(options.cache_dir)
    if adapter:
        return find_base(adapter.base, cache_dir)
    name = options.model or parameters.model
    if not name:
        raise ConfigError(f"from_image={options.from_image} does not say which base model drew it; set model=")
    try:
        return find_base(model_named(name), cache_dir)
    except ConfigError as error:
        if options.model:
            raise
        raise ConfigError(f"from_image={options.from_image} was drawn with {name}; set model= ({error})") from error


def _has_alpha(file: Path) -> bool:
    with Image.open(file) as image:
        return "A" in image.getbands()


def compare(file: Path, again: Image.Image) -> str:
    """Return one sentence on how the image in the file and the one drawn again differ."""
    with Image.open(file) as before:
        if before.size != again.size or before.mode != again.mode:
            return f"{file} was changed after it was drawn: it is {before.width}×{before.height} px, {before.mode}"
        apart = np.abs(np.asarray(before, dtype=np.int16) - np.asarray(again, dtype=np.int16)).max()
    if apart == 0:
        return "the same image, bit for bit"
    return f"not the same: up to {apart} of 255 apart (other weights or libraries, or another kind of machine)"
