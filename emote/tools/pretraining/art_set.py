"""Both art sets as arrays in memory, with the captions that the miniature learns from."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from emote.data.art import art_files
from emote.data.images import Layout, to_pixels
from emote.data.naming import catalogue, concept_of
from emote.data.split import held_out_concepts
from emote.util.files import replacing

LAYOUT = Layout(resolution=64, background="white", margin=0.03)
HELD_OUT = 0.05
TONE_WEIGHT = 0.1  # of a skin-tone variant, against 1 for an emoji without one


@dataclass
class ArtSet:
    """pixels: uint8 [N, 64, 64, 3] over white; coloured: the same over an arbitrary plain colour.

    names, aliases, style, weight, held_out: one entry an item, in the order of (style, codepoints).
    """

    pixels: np.ndarray
    coloured: np.ndarray
    names: list[str]
    aliases: list[tuple[str, ...]]
    style: list[str]
    weight: torch.Tensor
    held_out: torch.Tensor

    def of_style(self, style: str) -> torch.Tensor:
        return torch.tensor([i for i, s in enumerate(self.style) if s == style])


def load_art(work: Path) -> ArtSet:
    """Rasterise both sets at 64 px (about 20 s on 2 cores), or read them back from `work`."""
    catalogue_ = catalogue()
    entries = [
        (style, code, path)
        for style in ("openmoji", "twemoji")
        for code, path in art_files(style).items()
        if code in catalogue_
    ]
    stored = work / f"art-{_digest(entries)}.npz"
    if stored.exists():
        arrays = np.load(stored)
        pixels, coloured = arrays["pixels"], arrays["coloured"]
    else:
        with ThreadPoolExecutor() as pool:
            pixels = np.stack(list(pool.map(lambda e: to_pixels(e[2].read_bytes(), LAYOUT), entries)))
            coloured = np.stack(list(pool.map(_over_some_colour, entries)))
        with replacing(stored) as temporary, open(temporary, "wb") as file:
            np.savez(file, pixels=pixels, coloured=coloured)
    names = [catalogue_[code][0] for _, code, _ in entries]
    concepts = [concept_of(name) for name in names]
    held = held_out_concepts(concepts, HELD_OUT)
    return ArtSet(
        pixels=pixels,
        coloured=coloured,
        names=names,
        aliases=[catalogue_[code][1] for _, code, _ in entries],
        style=[style for style, _, _ in entries],
        weight=torch.tensor([TONE_WEIGHT if "skin tone" in name else 1.0 for name in names]),
        held_out=torch.tensor([concept in held for concept in concepts]),
    )


def _digest(entries: list[tuple[str, str, Path]]) -> str:
    """Of the drawings and their layout: what was stored for others is not used."""
    digest = hashlib.sha256(repr(LAYOUT).encode())
    for style, code, path in entries:
        digest.update(f"{style}/{code}:".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _over_some_colour(entry: tuple[str, str, Path]) -> np.ndarray:
    style, code, path = entry
    red, green, blue = hashlib.sha256(f"{style}/{code}".encode()).digest()[:3]
    return to_pixels(path.read_bytes(), replace(LAYOUT, background=f"rgb({red},{green},{blue})"))


def write_caption(name: str, aliases: tuple[str, ...], style: str, generator: torch.Generator) -> str:
    """One of the ways in which people ask for an emoji: bare, as the reported run did, or with the style."""
    draw = torch.rand(3, generator=generator).tolist()
    if aliases and draw[0] < 0.2:
        name = aliases[int(draw[2] * len(aliases))]
    if draw[1] < 0.2:
        return name
    return f"An emoji of {name}" if draw[1] < 0.5 else f"An emoji of {name}, {style} style"


def to_unit(pixels: np.ndarray) -> torch.Tensor:
    """uint8 [B, H, W, 3] to float32 [B, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
