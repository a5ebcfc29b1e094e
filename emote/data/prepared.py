"""From a source to what training reads: scanned, encoded, split, and in the order of a run."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from emote.config import DataConfig
from emote.data.background import caption_over, colours_of, is_white
from emote.data.cache import (
    ImageEncoder,
    Latents,
    TextEmbeddings,
    TextEncoder,
    build_latents,
    build_text,
    cached_latents,
    cached_text,
)
from emote.data.images import Layout
from emote.data.item import Item, Skipped
from emote.data.order import item_at, variant_at
from emote.data.policy import apply_policy
from emote.data.sources import open_source
from emote.data.split import held_out_concepts, join_concepts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scanned:
    """An item whose bytes could be read. content: their SHA-256 in hex."""

    item: Item
    content: str


@dataclass(frozen=True)
class Scan:
    """What a run uses of its source, sorted by (content, caption): the order of files says nothing.

    skipped: what has no usable caption or cannot be read; images are decoded later.
    found: usable items before `data.max_items`.  identity: see `scan`.
    """

    entries: list[Scanned]
    skipped: list[Skipped]
    found: int
    identity: str


@dataclass(frozen=True)
class Example:
    """One image with its captions, one for each variant in which it is cached.

    content: its key in `Prepared.latents`.  name: what messages call it.
    """

    name: str
    captions: tuple[str, ...]
    concept: str
    content: str

    @property
    def caption(self) -> str:
        """Of the first variant, which is what validation scores."""
        return self.captions[0]


@dataclass
class Prepared:
    """All that training and validation read. training and held_out are in the order of the scan."""

    training: list[Example]
    held_out: list[Example]
    latents: Latents
    text: TextEmbeddings
    skipped: list[Skipped] = field(default_factory=list)


def encoded_at_once(resolution_px: int) -> int:
    """Images in one batch of the VAE: 16 of 256 px, and of larger ones as many as have no more pixels, at least 1.

    At 256 px that takes about 3 GB in float32. It is part of the cache's identity (see `build_latents`).
    """
    return max(1, 16 * 256**2 // max(resolution_px, 256) ** 2)


def layout_of(data: DataConfig) -> Layout:
    return Layout(data.resolution, data.background, data.fit.value, data.margin)


def captions_of(caption: str, content: str, latents: Latents, data: DataConfig) -> tuple[str, ...]:
    """One for each cached variant of an image: what lies under it is said where it shows and is not white."""
    template = data.background_caption
    if template is None or is_white(data.background) or not latents.is_transparent(content):
        return (caption,) * len(latents.variants)
    colours = colours_of(data.background, content, transparent=True)
    return tuple(caption_over(caption, colours[variant.colour], template) for variant in latents.variants)


def scan(data: DataConfig) -> Scan:
    """Open the source and read every image's bytes once; nothing is decoded.

    The identity is a SHA-256 over the sorted (content, caption) of what `data.max_items` leaves: it follows
    the data wherever they lie, and no path, name or order is in it.
    Raises ConfigError as `open_source` does, and where `data.on_bad_item` says so.
    """
    items, skipped = open_source(data)
    entries = []
    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:  # waits for disks more than it computes
        for item, content in zip(items, pool.map(_read, items), strict=True):
            if isinstance(content, Skipped):
                skipped.append(content)
            else:
                entries.append(Scanned(item, content))
    apply_policy(len(entries), skipped, data.on_bad_item)
    entries.sort(key=lambda entry: (entry.content, entry.item.caption, entry.item.name))
    used = entries[: data.max_items]
    digest = hashlib.sha256(json.dumps([(entry.content, entry.item.caption) for entry in used]).encode())
    return Scan(used, skipped, found=len(entries), identity=digest.hexdigest())


def _read(item: Item) -> str | Skipped:
    try:
        data = item.read()
    except OSError as error:
        return Skipped(item.name, f"cannot be read ({error.strerror or error})")
    return hashlib.sha256(data).hexdigest() if data else Skipped(item.name, "the file is empty")


def prepare(
    scan: Scan,
    data: DataConfig,
    *,
    load_image_encoder: Callable[[], ImageEncoder],
    image_encoder_key: str,
    load_text_encoder: Callable[[], TextEncoder],
    text_encoder_key: str,
    cache_dir: Path,
    prompts: Iterable[str] = (),
    batch_size: int | None = None,
    workers: int = 1,
) -> Prepared:
    """Encode what is not cached yet, leave out what cannot be decoded, and split by concept.

    prompts: captions to encode beside those of the images, such as the sample prompts.  batch_size: None for what
    suits the resolution. The other arguments are those of `build_latents` and `build_text`. Raises ConfigError as they
    do, and as `apply_policy` does.
    """
    items = {entry.content: entry.item for entry in scan.entries}
    latents = build_latents(
        items,
        layout_of(data),
        (False, True) if data.flip else (False,),
        load_image_encoder,
        image_encoder_key,
        cache_dir,
        batch_size=batch_size or encoded_at_once(data.resolution),
        workers=workers,
    )
    bad = [
        Skipped(entry.item.name, latents.bad[entry.content]) for entry in scan.entries if entry.content in latents.bad
    ]
    examples = [
        Example(
            entry.item.name,
            captions_of(entry.item.caption, entry.content, latents, data),
            entry.item.concept,
            entry.content,
        )
        for entry in scan.entries
        if entry.content in latents
    ]
    # what max_items left out is in neither count, so the earlier ones count with these only where it left all
    earlier = scan.skipped if scan.found == len(scan.entries) else []
    apply_policy(len(examples), [*earlier, *bad], data.on_bad_item)

    if not is_white(data.background) and not any(latents.is_transparent(example.content) for example in examples):
        log.warning("data.background=%s shows behind no image: none of them is transparent", data.background)
    captions = {caption for example in examples for caption in example.captions}
    text = build_text([*captions, *prompts], load_text_encoder, text_encoder_key, cache_dir)
    group_of = join_concepts((example.concept, example.content) for example in examples)
    held = held_out_concepts(group_of.values(), data.held_out)
    return Prepared(
        training=[example for example in examples if group_of[example.concept] not in held],
        held_out=[example for example in examples if group_of[example.concept] in held],
        latents=latents,
        text=text,
        skipped=[*scan.skipped, *bad],
    )


def count_uncached(
    scan: Scan, data: DataConfig, image_encoder_key: str, text_encoder_key: str, cache_dir: Path, prompts: Iterable[str]
) -> tuple[int, int]:
    """How many images and captions `prepare` would encode; only names and headers of the cache's files are read.

    Captions that depend on whether an image is transparent count as missing until the image itself is cached.
    """
    contents = {entry.content for entry in scan.entries}
    mirrored = (False, True) if data.flip else (False,)
    at_once = encoded_at_once(data.resolution)
    latents = cached_latents(contents, layout_of(data), mirrored, image_encoder_key, cache_dir, at_once)
    captions = {*prompts, ""}
    for entry in scan.entries:
        if entry.content in latents:
            captions.update(captions_of(entry.item.caption, entry.content, latents, data))
        elif entry.content not in latents.bad:
            captions.add(entry.item.caption)
    text = cached_text(captions, text_encoder_key, cache_dir)
    images = sum(content not in latents and content not in latents.bad for content in contents)
    return images, sum(caption not in text for caption in captions)


class TrainingSet(Dataset):
    """The images of the steps from `start_position` to `end_position`, in the order of the run.

    Index i is the i-th position that this device computes: device `rank` of `world` has an equal, consecutive
    share of each batch of `batch_size`. So an ordinary DataLoader without shuffling, with any batch size that
    divides the share, gives the micro-batches of one step after another.

    An entry is dict(mean [C, h, w], logvar [C, h, w], embedding [T, D], position int64 []), which the default
    collate stacks; position is that in the global order, for noise and all else that is drawn for it.
    """

    def __init__(
        self,
        prepared: Prepared,
        seed: int,
        batch_size: int,
        start_position: int,
        end_position: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if start_position % batch_size or end_position % batch_size or batch_size % world:
            raise ValueError("positions must stand between batches, and devices must share a batch equally")
        self.prepared = prepared
        self.seed = seed
        self.batch_size = batch_size
        self.start_position = start_position
        self.end_position = end_position
        self.rank = rank
        self.world = world

    def __len__(self) -> int:
        return max(0, self.end_position - self.start_position) // self.world

    def position(self, index: int) -> int:
        """Position in the global order of this device's entry `index`."""
        share = self.batch_size // self.world
        step, place = divmod(index, share)
        return self.start_position + step * self.batch_size + self.rank * share + place

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        position = self.position(index)
        example = self.prepared.training[item_at(self.seed, position, len(self.prepared.training))]
        variant = variant_at(self.seed, position, len(self.prepared.latents.variants))
        return _entry(self.prepared, example, variant, position)


def _entry(prepared: Prepared, example: Example, variant: int, position: int) -> dict[str, Any]:
    mean_CHW, logvar_CHW = prepared.latents.get(example.content, variant)
    embedding_TD = prepared.text.get(example.captions[variant])
    return {
        "mean": mean_CHW,
        "logvar": logvar_CHW,
        "embedding": embedding_TD,
        "position": torch.tensor(position, dtype=torch.int64),
    }
