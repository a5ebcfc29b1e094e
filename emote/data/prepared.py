"""From a source to what training reads: scanned, encoded, split, and in the order of a run."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from emote.config import DataConfig, OnBadItem
from emote.data.background import caption_over, colours_of, is_white
from emote.data.cache import (
    Figures,
    ImageEncoder,
    Latents,
    TextEmbeddings,
    TextEncoder,
    ahead,
    build_latents,
    build_text,
    cached_latents,
    cached_text,
)
from emote.data.images import Layout
from emote.data.item import PLAIN, Found, Item, Rendering, Skipped, content_key
from emote.data.order import item_at, variant_at
from emote.data.policy import apply_policy
from emote.data.rendering import renderings
from emote.data.sources import open_source
from emote.data.split import held_out_concepts, join_concepts

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scanned:
    """An item whose bytes could be read. content: see `item.content_key`."""

    item: Item
    content: str


@dataclass(frozen=True)
class Scan:
    """What a run uses of its source, sorted by (content, caption): the order of files says nothing.

    skipped: what has no usable caption or cannot be read; images are decoded later.
    found: usable items before `data.max_items`.  left_out: files that only that leaves out.  identity: see `scan`.
    source: all else that was found there.
    """

    entries: list[Scanned]
    skipped: list[Skipped]
    found: int
    identity: str
    source: Found = field(default_factory=Found)
    left_out: int = 0


@dataclass(frozen=True)
class Example:
    """One image with its captions, one for each variant in which it is cached.

    content: its key in `Prepared.latents`.  name: what messages call it.  repeats: how often it counts in an epoch.
    """

    name: str
    captions: tuple[str, ...]
    concept: str
    content: str
    repeats: int = 1

    @property
    def caption(self) -> str:
        """Of the first variant, which is what validation scores."""
        return self.captions[0]


@dataclass
class Prepared:
    """All that training and validation read. training and held_out are in the order of the scan.

    base_text, drawn_text: the same texts as the base model's text encoder has them, and as the one that samples are
    drawn with; None where the text encoder is the base model's.  figures: None where all of an image counts alike.
    """

    training: list[Example]
    held_out: list[Example]
    latents: Latents
    text: TextEmbeddings
    skipped: list[Skipped] = field(default_factory=list)
    base_text: TextEmbeddings | None = None
    drawn_text: TextEmbeddings | None = None
    figures: Figures | None = None


def encoded_at_once(resolution_px: int) -> int:
    """Images in one batch of the VAE: 16 of 256 px, and of larger ones as many as have no more pixels, at least 1.

    At 256 px that takes about 3 GB in float32. It is part of the cache's identity (see `build_latents`).
    """
    return max(1, 16 * 256**2 // max(resolution_px, 256) ** 2)


def layout_of(data: DataConfig) -> Layout:
    return Layout(data.resolution, data.background, data.fit.value, data.margin)


def captions_of(caption: str, content: str, latents: Latents, data: DataConfig) -> tuple[str, ...]:
    """Return a caption for each cached variant of an image: the background is named where it shows."""
    template = data.background_caption
    if template is None or is_white(data.background) or not latents.is_transparent(content):
        return (caption,) * len(latents.variants)
    colours = colours_of(data.background, content, transparent=True)
    return tuple(caption_over(caption, colours[variant.colour], template) for variant in latents.variants)


def scan(data: DataConfig) -> Scan:
    """Open the source and read every image's bytes once; of animated and small ones, how they are drawn.

    The identity is a SHA-256 over the sorted (content, caption) of what `data.max_items` leaves: it follows
    the data wherever they lie, and no path, name or order is in it. How often each counts is in it where that differs.
    Raises ConfigError as `open_source` does, and where `data.on_bad_item` says so.
    """
    source = open_source(data)
    skipped = list(source.skipped)
    entries: list[Scanned] = []
    unread: set[str] = set()  # files may be items for several captions
    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:  # waits for disks more than it computes
        read = partial(_read, data=data)
        for item, contents in zip(source.items, ahead(pool, read, source.items, window=64), strict=True):
            if isinstance(contents, Skipped):
                if item.name not in unread:
                    skipped.append(contents)
                unread.add(item.name)
                continue
            for rendering, content in contents:
                entries.append(Scanned(item if rendering == PLAIN else replace(item, rendering=rendering), content))
    apply_policy(len(entries), [one for one in skipped if one.is_file], data.on_bad_item)
    entries.sort(key=lambda entry: (entry.content, entry.item.caption, entry.item.name))
    used = entries[: data.max_items]
    digest = hashlib.sha256()
    json_of = json.JSONEncoder().encode
    repeats = whole_repeats([entry.item.repeats for entry in used])
    is_weighted = max(repeats, default=1) > 1
    for n, (entry, number) in enumerate(zip(used, repeats, strict=True)):
        row = (entry.content, entry.item.caption, number) if is_weighted else (entry.content, entry.item.caption)
        digest.update(f"{', ' if n else '['}{json_of(row)}".encode())
    digest.update(b"]" if used else b"[]")
    left_out = len({entry.item.name for entry in entries} - {entry.item.name for entry in used})
    return Scan(used, skipped, len(entries), digest.hexdigest(), replace(source, items=[], skipped=[]), left_out)


def _read(item: Item, data: DataConfig) -> list[tuple[Rendering, str]] | Skipped:
    """How each frame that is used is drawn, and its key."""
    try:
        content = item.read()
    except OSError as error:
        return Skipped(item.name, f"cannot be read ({error.strerror or error})")
    if not content:
        return Skipped(item.name, "the file is empty")
    drawn = renderings(content, data.frame, data.resample, data.resolution)
    return [(rendering, content_key(content, rendering)) for rendering in drawn]


def whole_repeats(weights: Sequence[float]) -> list[int]:
    """Weights as the smallest whole numbers of the same ratios, to a twentieth of the smallest: 1 for equal ones."""
    distinct = set(weights)
    if len(distinct) < 2:
        return [1] * len(weights)
    least = min(distinct)
    shares = {weight: Fraction(weight / least).limit_denominator(20) for weight in distinct}
    common = math.lcm(*(share.denominator for share in shares.values()))
    return [int(shares[weight] * common) for weight in weights]


def split_by_concept(examples: Iterable[tuple[str, str]], share: float) -> tuple[dict[str, str], set[str]]:
    """From pairs of (concept, content): each concept's group, and the groups that are held out."""
    group_of = join_concepts(examples)
    return group_of, held_out_concepts(group_of.values(), share)


def without(scan: Scan, bad: Mapping[str, str], policy: OnBadItem) -> Scan:
    """The scan but for contents that cannot be decoded, given with the reason. Raises ConfigError as `apply_policy`."""
    undecoded = undecodable(scan.entries, bad)
    if not undecoded:
        return scan
    entries = [entry for entry in scan.entries if entry.content not in bad]
    apply_policy(len(entries), [*_counted(scan), *undecoded], policy)
    found = scan.found - len(scan.entries) + len(entries)
    return replace(scan, entries=entries, skipped=[*scan.skipped, *undecoded], found=found)


def undecodable(entries: Iterable[Scanned], bad: Mapping[str, str]) -> list[Skipped]:
    """Return what was skipped: one for each file whose content is bad."""
    names = {entry.item.name: bad[entry.content] for entry in entries if entry.content in bad}
    return [Skipped(name, reason) for name, reason in names.items()]


def _counted(scan: Scan) -> list[Skipped]:
    """What counts beside bad images: what max_items left out is in no count, so only where it left all."""
    return [one for one in scan.skipped if one.is_file] if scan.found == len(scan.entries) else []


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
    undecoded = undecodable(scan.entries, latents.bad)
    good = [entry for entry in scan.entries if entry.content in latents]
    examples = [
        Example(
            entry.item.name,
            captions_of(entry.item.caption, entry.content, latents, data),
            entry.item.concept,
            entry.content,
            repeats,
        )
        for entry, repeats in zip(good, whole_repeats([entry.item.repeats for entry in good]), strict=True)
    ]
    apply_policy(len(examples), [*_counted(scan), *undecoded], data.on_bad_item)

    if not is_white(data.background) and not any(latents.is_transparent(example.content) for example in examples):
        log.warning("data.background=%s shows behind no image: none of them is transparent", data.background)
    captions = {caption for example in examples for caption in example.captions}
    text = build_text([*captions, *prompts], load_text_encoder, text_encoder_key, cache_dir)
    group_of, held = split_by_concept([(example.concept, example.content) for example in examples], data.held_out)
    return Prepared(
        training=[example for example in examples if group_of[example.concept] not in held][: data.training_items],
        held_out=[example for example in examples if group_of[example.concept] in held],
        latents=latents,
        text=text,
        skipped=[*scan.skipped, *undecoded],
    )


def count_uncached(
    scan: Scan, data: DataConfig, image_encoder_key: str, text_encoder_key: str, cache_dir: Path, prompts: Iterable[str]
) -> tuple[int, int]:
    """Return how many images and captions `prepare` would encode; only names and headers of the cache's files are read.

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
    collate stacks; position is that in the global order, for noise and all else that is drawn for it. With figures also
    figure [h, w].
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
        # an epoch: each example as often as it counts
        self.epoch = [n for n, example in enumerate(prepared.training) for _ in range(example.repeats)]

    def __len__(self) -> int:
        return max(0, self.end_position - self.start_position) // self.world

    def position(self, index: int) -> int:
        """Return the position in the global order of this device's entry `index`."""
        share = self.batch_size // self.world
        step, place = divmod(index, share)
        return self.start_position + step * self.batch_size + self.rank * share + place

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        position = self.position(index)
        example = self.prepared.training[self.epoch[item_at(self.seed, position, len(self.epoch))]]
        variant = variant_at(self.seed, position, len(self.prepared.latents.variants))
        return _entry(self.prepared, example, variant, position)


def _entry(prepared: Prepared, example: Example, variant: int, position: int) -> dict[str, Any]:
    mean_CHW, logvar_CHW = prepared.latents.get(example.content, variant)
    embedding_TD = prepared.text.get(example.captions[variant])
    entry = {
        "mean": mean_CHW,
        "logvar": logvar_CHW,
        "embedding": embedding_TD,
        "position": torch.tensor(position, dtype=torch.int64),
    }
    if prepared.figures:
        entry["figure"] = prepared.figures.get(example.content, prepared.latents.variants[variant].mirrored)
    return entry
