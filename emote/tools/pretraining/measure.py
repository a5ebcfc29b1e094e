"""Figures and pictures of a finished miniature, on the device that trained it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTokenizer

from emote.tools.pretraining.art_pack import TRAINED
from emote.tools.pretraining.art_set import STYLES, ArtSet, to_unit
from emote.tools.pretraining.captions import CaptionTable, tokenize
from emote.tools.pretraining.towers import Pair, retrieval
from emote.tools.pretraining.unet import draw_latents, embed_captions
from emote.tools.pretraining.vae import encode_art, measure_error, reconstruct
from emote.tools.pretraining.wordings import SUBJECTS

GUIDANCE = 5.0


def measure_vae(vae: AutoencoderKL, art: ArtSet) -> dict[str, Any]:
    """Mean absolute error on what training never saw, by style, and how the latents of the trained art lie."""
    errors = {}
    for style in STYLES:
        rows = art.rows_of(style, held_out=True if style in TRAINED else None)
        if len(rows):
            errors[style] = round(measure_error(vae, art, rows), 4)
    trained = (art.trained_N & ~art.tone_N).nonzero().flatten()
    mean, std = encode_art(vae, art, trained[:: max(1, len(trained) // 2048)])
    return {
        "mae": errors,
        "latent_mean": [round(v, 3) for v in mean.mean(dim=(0, 2, 3)).tolist()],
        "latent_std": [round(v, 3) for v in mean.std(dim=(0, 2, 3)).tolist()],
        "posterior_std": [round(v, 3) for v in std.mean(dim=(0, 2, 3)).tolist()],
    }


def measure_pair(pair: Pair, art: ArtSet, captions: CaptionTable) -> dict[str, dict[str, float]]:
    """Retrieval among all known concepts, by style; of the trained styles on held-out drawings alone."""
    return {
        style: retrieval(pair, art, captions, art.rows_of(style, held_out=True if style in TRAINED else None))
        for style in STYLES
    }


@torch.no_grad()
def draw_images(
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    text: torch.nn.Module,
    ids_BT: torch.Tensor,
    empty_T: torch.Tensor,
    *,
    guidance: float = GUIDANCE,
    steps: int = 25,
    batch: int = 512,
) -> torch.Tensor:
    """Images [B, 3, H, W] in [-1, 1] on the CPU; picture i has noise i."""
    empty = embed_captions(text, empty_T[None], torch.float32)[0]
    images = []
    for start in range(0, len(ids_BT), batch):
        context = embed_captions(text, ids_BT[start : start + batch], torch.float32)
        latents = draw_latents(unet, context, empty, guidance=guidance, steps=steps, seed=start)
        images += [vae.decode(part.to(vae.dtype)).sample.float().clamp(-1, 1).cpu() for part in latents.split(64)]
    return torch.cat(images)


def measure_drawings(
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    text: torch.nn.Module,
    judge: Pair,
    art: ArtSet,
    captions: CaptionTable,
    *,
    limit: int | None = None,
) -> dict[str, dict[str, float]]:
    """What the judge recognises of one drawing for each emoji name, and of real ones of the same names."""
    rows = first_of_each_name(art)[:limit]
    ids = captions.ids_CT[captions.plain_rows(art.name_N[rows])]
    drawn = draw_images(unet, vae, text, ids, empty_caption(captions))
    return {
        "drawn": retrieval(judge, art, captions, rows, drawn.to(rows.device)),
        "real": retrieval(judge, art, captions, rows),
    }


def first_of_each_name(art: ArtSet) -> torch.Tensor:
    """One trained drawing without skin tone for each name, by turns from all styles."""
    rows = (art.trained_N & ~art.tone_N).nonzero().flatten().tolist()
    found: dict[int, list[int]] = {}
    for row in rows:
        found.setdefault(int(art.name_N[row]), []).append(row)
    chosen = [of_name[name % len(of_name)] for name, of_name in sorted(found.items())]
    return torch.tensor(chosen, device=art.name_N.device)


def empty_caption(captions: CaptionTable) -> torch.Tensor:
    """Token ids [T] of the empty caption: the start, then ends."""
    ids = captions.ids_CT[0].clone()
    ids[1:] = captions.ids_CT[0, -1]
    return ids


def draw_sheet(
    unet: UNet2DConditionModel, vae: AutoencoderKL, text: torch.nn.Module, tokenizer: CLIPTokenizer
) -> Image.Image:
    """Twelve subjects across; without a style, then in each trained style, down."""
    device = next(unet.parameters()).device
    empty = tokenize(tokenizer, [""])[0].to(device)
    lines = []
    for style in ("", *(f", {style} style" for style in TRAINED)):
        ids = tokenize(tokenizer, [f"An emoji of {subject}{style}" for subject in SUBJECTS]).to(device)
        lines.append(draw_images(unet, vae, text, ids, empty))
    return to_grid(torch.cat(lines), columns=len(SUBJECTS))


@torch.no_grad()
def compare_reconstructions(vae: AutoencoderKL, art: ArtSet, each: int = 8) -> Image.Image:
    """For each style, originals above their reconstructions."""
    lines = []
    for style in STYLES:
        rows = art.rows_of(style, held_out=True if style in TRAINED else None)
        rows = rows[:: max(1, len(rows) // each)][:each]
        if len(rows) == each:
            originals = to_unit(art.rgba_N4HW[rows])
            lines += [originals.cpu(), reconstruct(vae, originals).cpu()]
    return to_grid(torch.cat(lines), columns=each)


def to_grid(images_B3HW: torch.Tensor, columns: int) -> Image.Image:
    """Images in [-1, 1], row by row."""
    bytes_ = ((images_B3HW + 1) * 127.5 + 0.5).clamp(0, 255).byte()
    rows = [torch.cat(list(line), dim=2) for line in bytes_.split(columns) if len(line) == columns]
    return Image.fromarray(torch.cat(rows, dim=1).permute(1, 2, 0).contiguous().numpy())


def save_image(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
