"""Two pairs of towers, contrastively on emoji and their names: one for the miniature, one that judges it.

The miniature's text tower conditions the UNet, frozen, as Stable Diffusion's does; its vision tower serves
evaluation. The judge's pair has another seed and another kind of eye, and the UNet never learns from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    ResNetConfig,
    ResNetModel,
)

from emote.tools.pretraining.art_set import RESOLUTION, ArtSet, to_unit
from emote.tools.pretraining.augment import restyle
from emote.tools.pretraining.captions import MAX_TOKENS, CaptionTable, draw_styles
from emote.tools.pretraining.loop import Draw, Fitted, Losses, Span, draw_at, fit

WIDTH = 128
PROJECTION = 128
WEIGHT_DECAY = 0.05
CALIBRATION_BATCHES = 30
MAX_LOGIT_SCALE = math.log(100)


class Pair(nn.Module):
    """A text and a vision tower with projections to one space, and the logit scale between them."""

    def __init__(self, text: nn.Module, vision: nn.Module) -> None:
        super().__init__()
        self.text: Any = text
        self.vision: Any = vision
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def embed_text(self, ids_BT: torch.Tensor) -> torch.Tensor:
        """Unit vectors [B, PROJECTION], float32."""
        return F.normalize(self.text(input_ids=ids_BT.long()).text_embeds.float(), dim=-1)

    def embed_images(self, images_B3HW: torch.Tensor) -> torch.Tensor:
        """Unit vectors [B, PROJECTION], float32, of images in [-1, 1]."""
        embeds = self.vision(pixel_values=images_B3HW.to(self.logit_scale.dtype)).image_embeds
        return F.normalize(embeds.float(), dim=-1)


class ResNetWithProjection(nn.Module):
    """A small ResNet: from few drawings it learns to see in other styles better than a transformer does."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.vision_model = ResNetModel(config)
        self.visual_projection = nn.Linear(config.hidden_sizes[-1], PROJECTION, bias=False)

    def forward(self, pixel_values: torch.Tensor) -> ImageEmbeds:
        pooled = self.vision_model(pixel_values=pixel_values).pooler_output
        return ImageEmbeds(self.visual_projection(pooled.flatten(1)))


class ImageEmbeds:
    """What transformers' vision models with a projection return, as far as it is used here."""

    def __init__(self, image_embeds: torch.Tensor) -> None:
        self.image_embeds = image_embeds


def text_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_attention_heads=4, num_hidden_layers=4,
        vocab_size=len(tokenizer), max_position_embeddings=MAX_TOKENS, projection_dim=PROJECTION,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.eos_token_id,
    )  # fmt: skip


def vision_config() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_attention_heads=4, num_hidden_layers=4,
        image_size=RESOLUTION, patch_size=16, projection_dim=PROJECTION,
    )  # fmt: skip


def judge_vision_config() -> ResNetConfig:
    return ResNetConfig(
        embedding_size=40, hidden_sizes=[40, 80, 144, 232], depths=[2, 2, 2, 2], layer_type="basic", hidden_act="relu"
    )


def build_towers(tokenizer: CLIPTokenizer) -> Pair:
    """The miniature's own pair: CLIP's text and vision transformers."""
    text = CLIPTextModelWithProjection(text_config(tokenizer))
    return Pair(text, CLIPVisionModelWithProjection(vision_config()))


def build_judge(tokenizer: CLIPTokenizer) -> Pair:
    """The judge's pair: CLIP's text transformer and a ResNet."""
    text = CLIPTextModelWithProjection(text_config(tokenizer))
    return Pair(text, ResNetWithProjection(judge_vision_config()))


def train_pair(
    name: str,
    pair: Pair,
    art: ArtSet,
    captions: CaptionTable,
    *,
    names_style: bool,
    span: Span,
    batch: int,
    learning_rate: float,
    work: Path,
    seed: int,
    dtype: torch.dtype,
) -> Fitted:
    """Train on restyled drawings against their captions; it ends with the averaged weights.

    names_style: half of the captions name the style, and a caption with another style is a wrong answer; without
    it no caption does, and all variants of a concept are one right answer, as the judge counts them.
    """
    rows = (art.trained_N & (art.weight_N > 0)).nonzero().flatten()
    weights = art.weight_N[rows]
    # of each name at most one caption enters the loss as a wrong answer more than the batch's own
    known = torch.unique(art.name_N[rows])
    known_concepts = torch.zeros(len(art.names), dtype=torch.long, device=known.device)
    known_concepts[art.name_N] = art.concept_N

    def losses_at(model: nn.Module, count: int, step: int, draw: Draw) -> Losses:
        chosen = rows[draw.choice(weights, count)]
        images = restyle(art.rgba_N4HW[chosen], draw)
        names, styles = art.name_N[chosen], art.style_N[chosen]
        said = draw_styles(styles, draw, 0.5 if names_style else 0.0)
        text_names = torch.cat([names, known[draw.choice(torch.ones_like(known, dtype=torch.float), count)]])
        text_styles = torch.cat([said, torch.full_like(names, -1)])
        ids = captions.ids_CT[captions.rows(text_names, text_styles, draw)]
        if names_style:
            right = names[:, None] == text_names[None, :]
            right &= (text_styles[None, :] < 0) | (styles[:, None] == text_styles[None, :])
        else:
            right = known_concepts[names][:, None] == known_concepts[text_names][None, :]
        assert isinstance(model, Pair)
        logits = model.embed_images(images) @ model.embed_text(ids).T
        scale = model.logit_scale.float().clamp(max=MAX_LOGIT_SCALE).exp()
        return {"contrastive": soft_contrastive(logits * scale, right, count)}

    @torch.no_grad()
    def evaluate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, Pair)
        return {
            f"{style}_{key}": value
            for style in ("openmoji", "blob", "emojione")
            for key, value in retrieval(model, art, captions, art.rows_of(style)).items()
        }

    fitted = fit(
        name, pair, losses_at, span=span, batch=batch, learning_rate=learning_rate, work=work, seed=seed, dtype=dtype,
        weight_decay=WEIGHT_DECAY, evaluate=evaluate, evaluate_times=5,
    )  # fmt: skip
    pair.load_state_dict(fitted.states["ema_0.05"])
    draws = (draw_at(seed + 1, i, rows.device) for i in range(CALIBRATION_BATCHES))
    calibrate(pair, (restyle(art.rgba_N4HW[rows[draw.choice(weights, min(batch, 256))]], draw) for draw in draws))
    pair.requires_grad_(False).eval()
    return fitted


@torch.no_grad()
def calibrate(pair: Pair, batches: Iterable[torch.Tensor]) -> None:
    """Batch normalisation's statistics anew, for the averaged weights; nothing where there is no such layer."""
    layers = [module for module in pair.modules() if isinstance(module, nn.BatchNorm2d)]
    if not layers:
        return
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's way to ask for plain means over all batches
    pair.vision.train()
    for images in batches:
        pair.embed_images(images)


def soft_contrastive(logits_BC: torch.Tensor, right_BC: torch.Tensor, own: int) -> torch.Tensor:
    """CLIP's symmetric cross-entropy where several captions may be right.

    The first `own` captions belong to the images; the rest are further wrong (or right) answers for images alone.
    """
    target = right_BC.float()
    to_text = -(F.log_softmax(logits_BC, dim=1) * target).sum(dim=1) / target.sum(dim=1)
    target = target[:, :own]
    to_image = -(F.log_softmax(logits_BC[:, :own], dim=0) * target).sum(dim=0) / target.sum(dim=0).clamp(min=1)
    return (to_text.mean() + to_image.mean()) / 2


@torch.no_grad()
def retrieval(
    pair: Pair, art: ArtSet, captions: CaptionTable, rows: torch.Tensor, images: torch.Tensor | None = None
) -> dict[str, float]:
    """Top 1 and top 5 among all concepts that the towers know; variants of a concept count as one.

    rows: drawings of the art, of which those of unknown concepts are left out. images: float [len(rows), 3, H, W]
    in [-1, 1], drawn for these rows, instead of the art's own.
    """
    ranks = concept_ranks(pair, art, captions, rows, images)
    known = ranks >= 0
    ranks = ranks[known]
    if not len(ranks):
        return {"count": 0.0}
    return {"top1": float((ranks < 1).float().mean()), "top5": float((ranks < 5).float().mean()),
            "count": float(len(ranks))}  # fmt: skip


@torch.no_grad()
def concept_ranks(
    pair: Pair, art: ArtSet, captions: CaptionTable, rows: torch.Tensor, images: torch.Tensor | None = None
) -> torch.Tensor:
    """Rank of the right concept for each drawing, from 0; -1 where the towers never heard of it."""
    learned = art.trained_N & ~art.tone_N
    names = torch.unique(art.name_N[learned])
    concept_of_name = torch.zeros(len(art.names), dtype=torch.long, device=names.device)
    concept_of_name[art.name_N] = art.concept_N
    text = torch.cat([pair.embed_text(captions.ids_CT[captions.plain_rows(part)]) for part in names.split(1024)])
    concepts = concept_of_name[names]
    ranks = []
    for start in range(0, len(rows), 256):
        part = rows[start : start + 256]
        pixels = to_unit(art.rgba_N4HW[part]) if images is None else images[start : start + 256]
        similarity = pair.embed_images(pixels.to(text.device)) @ text.T
        best = torch.full((len(part), len(art.concepts)), -2.0, device=text.device)
        best.scatter_reduce_(1, concepts.expand(len(part), -1), similarity, reduce="amax")
        right = best.gather(1, art.concept_N[part][:, None])
        ranks.append(torch.where(right[:, 0] > -2, (best > right).sum(dim=1), -1))
    return torch.cat(ranks) if ranks else torch.zeros(0, dtype=torch.long)
