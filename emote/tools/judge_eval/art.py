"""Real sets of emoji art for trying the judge: those of PyPI, and icon packages where they are named."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from emote.data.art import art_items
from emote.data.images import BadImage, Layout, decode, lay_out
from emote.data.item import Item
from emote.evaluation.images.reference import Names, RealImages, Reference


@dataclass(frozen=True)
class ArtSet:
    """One image of each concept, by concept: its name and its drawing."""

    style: str
    names: dict[str, str]
    images: dict[str, Image.Image]


def read_art(style: str, side_px: int, items: Sequence[Item] | None = None) -> ArtSet:
    """The drawing with the shortest name of each concept of a set. items: None for the set `style` of PyPI."""
    found: dict[str, Item] = {}
    for item in sorted(items or art_items(style, "{text}"), key=lambda item: (len(item.caption), item.caption)):
        found.setdefault(item.concept, item)
    layout = Layout(side_px)

    def read(item: Item) -> Image.Image | None:
        try:
            return lay_out(decode(item.read(), side_px), layout)
        except (BadImage, OSError):
            return None

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        drawn = dict(zip(found, pool.map(read, found.values()), strict=True))
    images = {concept: image for concept, image in drawn.items() if image}
    return ArtSet(style, {concept: found[concept].caption for concept in images}, images)


def by_hash(concepts: Sequence[str], seed: int = 0) -> list[str]:
    """In an order that says nothing."""
    return sorted(concepts, key=lambda concept: hashlib.sha256(f"{seed}:{concept}".encode()).digest())


def as_reference(art: ArtSet, held_out: Sequence[str]) -> Reference:
    """A set whose split is given."""
    held = frozenset(held_out)
    trained = [concept for concept in by_hash(list(art.images)) if concept not in held]
    concepts = list(art.names)
    names = Names([art.names[c] for c in concepts], concepts, [art.names[c] for c in concepts], held, art.style)

    def part(chosen: Sequence[str]) -> RealImages:
        return RealImages([art.images[c] for c in chosen], list(chosen), [art.names[c] for c in chosen])

    return Reference(names, part(trained), part(list(held_out)), part(trained[:500]))
