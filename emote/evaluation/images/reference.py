"""The real images of a run's set, and its names: what drawings are measured against."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from PIL import Image

from emote.config import RANDOM_BACKGROUND, DataConfig
from emote.data.images import BadImage, to_pixels
from emote.data.prepared import Scanned, layout_of, scan
from emote.data.split import held_out_concepts, join_concepts
from emote.util.errors import ConfigError

PLACE = "{text}"
FEWEST_HELD_OUT = 2  # concepts
NULL_IMAGES = 500  # training concepts whose images say, too, how near two concepts are


@dataclass(frozen=True)
class RealImages:
    """Images as training sees them, each with its concept and what messages call it."""

    images: list[Image.Image]
    concepts: list[str]
    names: list[str]


@dataclass(frozen=True)
class Prompt:
    """What is drawn of a concept. text: its name. caption: in the words of training."""

    text: str
    caption: str
    concept: str
    held_out: bool


@dataclass(frozen=True)
class Names:
    """All names of a set with their concepts, and the concepts that no training image shows."""

    texts: list[str]
    concepts: list[str]
    captions: list[str]
    held_out: frozenset[str]
    identity: str

    def prompts(self, count: int, seed: int = 0) -> list[Prompt]:
        """One for each of so many concepts: half of them held-out ones, or as many as there are; by a hash.

        A concept is drawn by its shortest name.
        """
        first = self.one_each()
        order = sorted(first, key=lambda concept: hashlib.sha256(f"{seed}:{concept}".encode()).digest())
        held = [concept for concept in order if concept in self.held_out]
        trained = [concept for concept in order if concept not in self.held_out]
        half = min(len(held), max(count - len(trained), (count + 1) // 2))
        chosen = [*held[:half], *trained[: count - half]]
        return [
            Prompt(self.texts[first[concept]], self.captions[first[concept]], concept, concept in self.held_out)
            for concept in chosen
        ]

    def one_each(self) -> dict[str, int]:
        """The row of each concept's shortest name: the one without skin tone or hair."""
        found: dict[str, int] = {}
        for row in sorted(range(len(self.texts)), key=lambda row: (len(self.texts[row]), self.texts[row], row)):
            found.setdefault(self.concepts[row], row)
        return {concept: found[concept] for concept in sorted(found)}


@dataclass(frozen=True)
class Reference:
    """A set as an evaluation sees it: its names, and its images as the split of the run has them.

    training: all of them. held_out, examples: one image of each held-out concept, and of some training concepts; a
    concept with many variants would otherwise count for many.
    """

    names: Names
    training: RealImages
    held_out: RealImages
    examples: RealImages


def read_names(data: DataConfig, template: str) -> Names:
    """The names of a set; no image is decoded. template: of its captions, with {text}."""
    found = scan(data)
    return _names(found.entries, data, template, found.identity)


def read_reference(data: DataConfig, template: str) -> Reference:
    """All of a set, decoded and laid out as the run did (over white where the run drew several backgrounds).

    Raises ConfigError where fewer than two concepts are held out, and as `scan` does.
    """
    layout = layout_of(data)
    if layout.background == RANDOM_BACKGROUND:
        layout = replace(layout, background="white")
    found = scan(data)

    def read(entry: Scanned) -> Image.Image | None:
        try:
            pixels_HW3 = to_pixels(entry.item.read(), layout, rendering=entry.item.rendering)
            return Image.fromarray(pixels_HW3)
        except (BadImage, OSError):
            return None

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        drawn = list(pool.map(read, found.entries))
    entries = [entry for entry, image in zip(found.entries, drawn, strict=True) if image]
    images = [image for image in drawn if image]
    names = _names(entries, data, template, found.identity)
    if len(names.held_out) < FEWEST_HELD_OUT:
        raise ConfigError(
            f"an evaluation needs real images that were kept from training: data.held_out must leave {FEWEST_HELD_OUT} "
            f"concepts or more, got {data.held_out} of {len(set(names.concepts))} concepts"
        )

    def part(rows: Sequence[int]) -> RealImages:
        return RealImages(
            [images[row] for row in rows],
            [names.concepts[row] for row in rows],
            [entries[row].item.name for row in rows],
        )

    training = [row for row, concept in enumerate(names.concepts) if concept not in names.held_out]
    each = names.one_each()
    held_out = [row for concept, row in each.items() if concept in names.held_out]
    also = [row for concept, row in each.items() if concept not in names.held_out]
    return Reference(names, part(training), part(held_out), part(also[:NULL_IMAGES]))


def bare_text(caption: str, template: str) -> str:
    """A caption without the words that all captions of its set share."""
    before, _, after = template.partition(PLACE)
    return caption.removeprefix(before).removesuffix(after).strip() or caption


def _names(entries: Sequence[Scanned], data: DataConfig, template: str, identity: str) -> Names:
    """With the split of `prepare`: concepts that share an image are one."""
    group_of = join_concepts((entry.item.concept, entry.content) for entry in entries)
    concepts = [group_of[entry.item.concept] for entry in entries]
    return Names(
        [bare_text(entry.item.caption, template) for entry in entries],
        concepts,
        [entry.item.caption for entry in entries],
        frozenset(held_out_concepts(concepts, data.held_out)),
        identity,
    )
