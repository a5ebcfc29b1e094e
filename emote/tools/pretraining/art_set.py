"""The art as arrays in memory: what each part of the miniature learns from, and what is kept from it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from emote.data.images import decode, figure_box
from emote.data.naming import concept_of
from emote.tools.pretraining.art_pack import TRAINED, UNSEEN, ArtPack, Drawing
from emote.util.files import replacing

RESOLUTION = 128
MARGIN = 0.03
HELD_OUT = 0.1  # of the concepts that two or more styles draw lose one style's drawings
TONE_WEIGHT = 0.1  # of a skin-tone variant, against 1 for an emoji without one
STYLES = (*TRAINED, *UNSEEN)


@dataclass
class ArtSet:
    """N drawings, in the order of the pack; names and concepts are counted once each.

    rgba_N4HW: uint8, colours multiplied by alpha, so that any background adds without a seam.
    style_N, name_N, concept_N: int64 indices into STYLES, `names` and `concepts`.
    weight_N: how often a drawing is shown. tone_N: whether it has a skin tone. held_out_N: kept from training.
    trained_N: of a style that is trained and not held out.
    """

    rgba_N4HW: torch.Tensor
    style_N: torch.Tensor
    name_N: torch.Tensor
    concept_N: torch.Tensor
    weight_N: torch.Tensor
    tone_N: torch.Tensor
    held_out_N: torch.Tensor
    trained_N: torch.Tensor
    names: list[str]
    concepts: list[str]
    wordings: dict[str, tuple[str, ...]]
    sets: dict[str, dict[str, str]]

    def rows_of(self, style: str, *, held_out: bool | None = None, tones: bool = False) -> torch.Tensor:
        """Indices of a style's drawings; only the held-out or only the others where asked."""
        chosen = self.style_N == STYLES.index(style)
        if not tones:
            chosen = chosen & ~self.tone_N
        if held_out is not None:
            chosen = chosen & (self.held_out_N == held_out)
        return chosen.nonzero().flatten()

    def to(self, device: torch.device) -> ArtSet:
        """The same, its arrays on `device`."""
        tensors = {key: value.to(device) for key, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return ArtSet(**(vars(self) | tensors))


def load_art(pack: ArtPack, store: Path | None, workers: int) -> ArtSet:
    """Rasterise the pack (about 10 ms a drawing and core); where `store` is given, the arrays are kept there."""
    drawings = pack.drawings
    stored = store / f"art-{_digest(drawings)}.npy" if store else None
    if stored and stored.exists():
        rgba = np.load(stored)
    else:
        with ProcessPoolExecutor(workers) as pool:
            rgba = np.stack(list(pool.map(rasterise, (d.svg for d in drawings), chunksize=32)))
        if stored:
            with replacing(stored) as temporary, open(temporary, "wb") as file:
                np.save(file, rgba)
    names = sorted({d.name for d in drawings})
    name_index = {name: i for i, name in enumerate(names)}
    concept_of_name = {name: concept_of(name) for name in names}
    concepts = sorted(set(concept_of_name.values()))
    concept_index = {concept: i for i, concept in enumerate(concepts)}
    concept_of_drawing = [concept_of_name[d.name] for d in drawings]
    tone = torch.tensor(["skin tone" in d.name for d in drawings])
    held = held_out_drawings([(d.style, concept) for d, concept in zip(drawings, concept_of_drawing, strict=True)])
    trained = torch.tensor([d.style in TRAINED for d in drawings]) & ~held
    concept_N = torch.tensor([concept_index[concept] for concept in concept_of_drawing])
    return ArtSet(
        rgba_N4HW=torch.from_numpy(rgba),
        style_N=torch.tensor([STYLES.index(d.style) for d in drawings]),
        name_N=torch.tensor([name_index[d.name] for d in drawings]),
        concept_N=concept_N,
        weight_N=balance(concept_N, tone, trained),
        tone_N=tone,
        held_out_N=held,
        trained_N=trained,
        names=names,
        concepts=concepts,
        wordings={name: pack.wordings.get(name, (name,)) for name in names},
        sets=pack.sets,
    )


def balance(concept_N: torch.Tensor, tone_N: torch.Tensor, trained_N: torch.Tensor) -> torch.Tensor:
    """Weights of drawings: tones count little, and a concept with k drawings counts as √k, not k."""
    base = torch.where(tone_N, TONE_WEIGHT, 1.0) * trained_N
    of_concept = torch.zeros(int(concept_N.max()) + 1).index_add_(0, concept_N, base)
    return base / of_concept.clamp(min=1e-6).sqrt()[concept_N]


def held_out_drawings(pairs: Sequence[tuple[str, str]]) -> torch.Tensor:
    """Which drawings, given as (style, concept), are kept from training: bool [N].

    A share HELD_OUT of the concepts that two or more trained styles draw lose all their drawings in one of these
    styles, chosen by hash; so no concept is ever unknown, and no variant of a held-out drawing is seen.
    """
    styles_of: dict[str, set[str]] = {}
    for style, concept in pairs:
        if style in TRAINED:
            styles_of.setdefault(concept, set()).add(style)
    held: set[tuple[str, str]] = set()
    for concept, styles in styles_of.items():
        digest = hashlib.sha256(concept.encode()).digest()
        if len(styles) > 1 and int.from_bytes(digest[:4], "big") < HELD_OUT * 2**32:
            held.add((sorted(styles)[digest[4] % len(styles)], concept))
    return torch.tensor([pair in held for pair in pairs])


def rasterise(svg: bytes) -> np.ndarray:
    """An SVG to uint8 [4, RESOLUTION, RESOLUTION], cropped to its figure, colours multiplied by alpha."""
    image = decode(svg, svg_size_px=2 * RESOLUTION)
    box = figure_box(image)
    image = image.crop(box) if box else image
    rgba = np.asarray(image, dtype=np.float32) / 255
    rgba[..., :3] *= rgba[..., 3:]
    inner = RESOLUTION - 2 * round(MARGIN * RESOLUTION)
    scale = inner / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    planes = [
        np.asarray(Image.fromarray(rgba[..., c]).resize((width, height), Image.Resampling.LANCZOS)) for c in range(4)
    ]
    square = np.zeros((4, RESOLUTION, RESOLUTION), np.float32)
    top, left = (RESOLUTION - height) // 2, (RESOLUTION - width) // 2
    square[:, top : top + height, left : left + width] = np.stack(planes).clip(0, 1)
    return (square * 255 + 0.5).astype(np.uint8)


def to_unit(rgba_B4HW: torch.Tensor, background_B311: torch.Tensor | float = 1.0) -> torch.Tensor:
    """uint8 [B, 4, H, W] over a background in [0, 1] (white by itself) to float32 [B, 3, H, W] in [-1, 1]."""
    rgba = rgba_B4HW.float() / 255
    return ((rgba[:, :3] + (1 - rgba[:, 3:]) * background_B311) * 2 - 1).clamp(-1, 1)


def _digest(drawings: Sequence[Drawing]) -> str:
    """Of the drawings and their layout: what was stored for others is not used."""
    digest = hashlib.sha256(f"{RESOLUTION} {MARGIN}".encode())
    for drawing in drawings:
        digest.update(f"{drawing.style}/{drawing.codepoints}".encode() + drawing.svg)
    return digest.hexdigest()[:12]
