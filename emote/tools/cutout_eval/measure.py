"""How well figures are cut out, on drawings whose true transparency is known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageColor

from emote.data.art import art_items
from emote.data.images import decode
from emote.data.item import Item
from emote.imaging.cutout import cut_out
from emote.imaging.fitting import fit

WITHIN = 0.01  # mean absolute error of alpha that a single image may have
GOAL_ERROR, GOAL_IOU = 0.01, 0.98
ROWS = 64  # images that go through an autoencoder at once

Redraw = Callable[[list[Image.Image]], list[Image.Image]]


@dataclass(frozen=True)
class Scored:
    """One image, all in 0–1.

    error: mean absolute error of alpha; lost, kept: the parts of it where alpha is too low and too high. iou:
    intersection over union of what is at least half opaque. over_black: mean error of colours once laid over black,
    where halos show.
    """

    name: str
    caption: str
    error: float
    lost: float
    kept: float
    iou: float
    over_black: float


class Shown(NamedTuple):
    """The images behind a score: what was cut out of, the result, and the truth."""

    flat: Image.Image
    cut: Image.Image
    truth: Image.Image


@dataclass(frozen=True)
class Summary:
    """Means over images unless named otherwise; `within`: the share with an error of at most WITHIN."""

    images: int
    error: float
    error_median: float
    error_95th: float
    lost: float
    kept: float
    iou: float
    within: float
    over_black: float

    @property
    def meets_goal(self) -> bool:
        return self.error <= GOAL_ERROR and self.iou >= GOAL_IOU

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "meets_goal": self.meets_goal}


def choose(style: str, count: int) -> list[Item]:
    """`count` emoji of an art set, always the same ones and of all kinds; fewer are among more."""
    items = art_items(style, "{text}")
    return sorted(items, key=lambda item: hashlib.sha256(item.name.encode()).digest())[:count]


def score_art(
    style: str, count: int, size_px: int, background: str, told: str, redraw: Redraw | None = None
) -> Iterator[tuple[Scored, Shown]]:
    """Draw emoji with their own transparency over a colour, cut them out again, and compare.

    background: a CSS colour. told: what `cut_out` is told about it. redraw: what becomes of the flat images before,
    such as an autoencoder; they then have a small margin, as training images have.
    """
    items = choose(style, count)
    for start in range(0, len(items), ROWS):
        chosen = items[start : start + ROWS]
        truths = [_draw(item, size_px, with_margin=redraw is not None) for item in chosen]
        flats = [_over(truth, background) for truth in truths]
        if redraw:
            flats = redraw(flats)
        for item, truth, flat in zip(chosen, truths, flats, strict=True):
            shown = Shown(flat, cut_out(flat, told), truth)
            yield _score(item, shown), shown


def summarise(scored: Sequence[Scored]) -> Summary:
    errors = np.array([one.error for one in scored])
    return Summary(
        images=len(scored),
        error=float(errors.mean()),
        error_median=float(np.median(errors)),
        error_95th=float(np.percentile(errors, 95)),
        lost=float(np.mean([one.lost for one in scored])),
        kept=float(np.mean([one.kept for one in scored])),
        iou=float(np.mean([one.iou for one in scored])),
        within=float((errors <= WITHIN).mean()),
        over_black=float(np.mean([one.over_black for one in scored])),
    )


def autoencoder(model: Path) -> Redraw:
    """Encode and decode with a model's autoencoder: what generated images look like, where the truth is known."""
    import torch  # late: drawings alone need none

    from emote.models.components import load_vae

    vae = load_vae(model, torch.float32, torch.device("cpu"))

    @torch.inference_mode()
    def redraw(images: list[Image.Image]) -> list[Image.Image]:
        pixels_NHW3 = np.stack([np.asarray(image, dtype=np.float32) for image in images])
        latents_N4hw = vae.encode(torch.from_numpy(pixels_NHW3).permute(0, 3, 1, 2) / 127.5 - 1).latent_dist.mean
        output_NHW3 = vae.decode(latents_N4hw).sample.permute(0, 2, 3, 1).clamp(-1, 1)
        return [Image.fromarray(one) for one in ((output_NHW3 + 1) * 127.5).round().to(torch.uint8).numpy()]

    return redraw


def _draw(item: Item, size_px: int, with_margin: bool) -> Image.Image:
    if with_margin:
        return fit(decode(item.read(), svg_size_px=2 * size_px), size_px, is_square=True)
    return decode(item.read(), svg_size_px=size_px)


def _over(image: Image.Image, background: str) -> Image.Image:
    flat = Image.new("RGB", image.size, ImageColor.getrgb(background)[:3])
    flat.paste(image, mask=image.getchannel("A"))
    return flat


def _score(item: Item, shown: Shown) -> Scored:
    true_HW4, cut_HW4 = (np.asarray(image, dtype=np.float64) / 255 for image in (shown.truth, shown.cut))
    difference_HW = cut_HW4[..., 3] - true_HW4[..., 3]
    true_HW, cut_HW = true_HW4[..., 3] >= 0.5, cut_HW4[..., 3] >= 0.5
    union = (true_HW | cut_HW).sum()
    on_black_HW3 = cut_HW4[..., :3] * cut_HW4[..., 3:] - true_HW4[..., :3] * true_HW4[..., 3:]
    return Scored(
        name=item.name,
        caption=item.caption,
        error=float(np.abs(difference_HW).mean()),
        lost=float(np.clip(-difference_HW, 0, None).mean()),
        kept=float(np.clip(difference_HW, 0, None).mean()),
        iou=float((true_HW & cut_HW).sum() / union) if union else 1.0,
        over_black=float(np.abs(on_black_HW3).mean()),
    )
