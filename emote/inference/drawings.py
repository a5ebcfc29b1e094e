"""Drawings that are kept: what a model drew from a request is read again, not drawn again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from emote.inference.image_generator import ImageGenerator
from emote.inference.png_metadata import save_png
from emote.inference.request import Request
from emote.inference.resolve_adapter import Adapter

BATCH = 8  # a quarter faster than one at a time; drawings differ by rounding from those of `generate`


@dataclass(frozen=True)
class Kept:
    """A drawing and where it lies."""

    image: Image.Image
    file: Path


def draw_kept(
    image_generator: ImageGenerator,
    adapter: Adapter | None,
    requests: Sequence[Request],
    directory: Path,
    on_drawn: Callable[[int, int], None] = lambda done, of: None,
) -> list[Kept]:
    """One image a request, in their order; what lies in `directory` already is not drawn.

    They are kept by the weights of base and adapter, the request, and the precision. Each is written as soon as it is
    there, so that an interruption costs a batch. on_drawn: told how many of how many are there.
    Raises ConfigError where the adapter does not fit the base model; an image that came out as no numbers is black.
    """
    files = [directory / _folder(image_generator, adapter, r) / f"{_key(image_generator, r)}.png" for r in requests]
    found: dict[int, Image.Image] = {}
    for row, file in enumerate(files):
        with suppress(OSError), Image.open(file) as opened:  # a damaged one is drawn again
            found[row] = opened.convert("RGB")
    missing = [row for row in range(len(requests)) if row not in found]
    on_drawn(len(found), len(requests))
    if missing:
        image_generator.use(adapter)
        for drawn in image_generator.draw_each([requests[row] for row in missing], batch=BATCH):
            row = missing[drawn.index]
            found[row] = drawn.image.convert("RGB")
            save_png(drawn.image, files[row])
            on_drawn(len(found), len(requests))
    return [Kept(found[row], files[row]) for row in range(len(requests))]


def _folder(image_generator: ImageGenerator, adapter: Adapter | None, request: Request) -> str:
    other = adapter.short_hash if adapter and request.lora_scale else "base"
    return f"{image_generator.base.short_hash}-{other}"


def _key(image_generator: ImageGenerator, request: Request) -> str:
    asked = {name: value for name, value in asdict(request).items() if value is not None}  # eta: as before it was there
    facts = json.dumps([asked, image_generator.precision.name], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:24]
