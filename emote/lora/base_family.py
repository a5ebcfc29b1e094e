"""Which base model a UNet, or an adapter of one, belongs to: told by its shapes, not by what a file says of itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any

Shape = tuple[int, ...]


class Base(Enum):
    """The value is how a table names it."""

    sd1 = "Stable Diffusion 1"
    sd2 = "Stable Diffusion 2"
    sdxl = "Stable Diffusion XL"
    miniature = "the miniature"
    unknown = "no base known by its shapes"


# (width of the text embedding that the UNet attends to, widths of its blocks)
WIDTHS = {
    Base.sd1: (768, {320, 640, 1280}),
    Base.sd2: (1024, {320, 640, 1280}),
    Base.sdxl: (2048, {320, 640, 1280}),
    Base.miniature: (128, {64, 128, 160}),
}
TEXT_WIDTHS = {768: Base.sd1, 1024: Base.sd2}
# kohya's `ss_base_model_version`, Stability's `modelspec.architecture`
LABELS = {
    Base.sd1: ("sd_v1", "stable-diffusion-v1"),
    Base.sd2: ("sd_v2", "stable-diffusion-v2-512"),
    Base.sdxl: ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base"),
}
OTHER = ("other", "stable-diffusion-other")  # a miniature must not be offered for Stable Diffusion 1


def base_of_unet(config: Mapping[str, Any]) -> Base:
    """The base model by the UNet's diffusers configuration."""
    return _match(config["cross_attention_dim"], set(config["block_out_channels"]))


def base_of_layers(down_shapes: Mapping[str, Shape]) -> Base:
    """The base model by the shapes of an adapter's down matrices ([rank, in] or [rank, in, k, k]) by layer name.

    Cross-attention's keys and values tell it; without them the text encoders do, if they are adapted.
    """
    inputs = {name: shape[1] for name, shape in down_shapes.items()}
    context = {width for name, width in inputs.items() if re.search(r"^unet\..*attn2\.to_[kv]$", name)}
    blocks = {width for name, width in inputs.items() if re.search(r"^unet\..*attn(1\.to_[qkv]|2\.to_q)$", name)}
    if context:
        return _match(context.pop(), blocks) if len(context) == 1 else Base.unknown
    if any(name.startswith("text_encoder_2.") for name in inputs):
        return Base.sdxl
    text = {width for name, width in inputs.items() if re.search(r"^text_encoder\..*self_attn\.", name)}
    return TEXT_WIDTHS.get(text.pop(), Base.unknown) if len(text) == 1 else Base.unknown


def _match(context: Any, blocks: set[int]) -> Base:
    fits = (base for base, (width, widths) in WIDTHS.items() if context == width and blocks <= widths)
    return next(fits, Base.unknown)
