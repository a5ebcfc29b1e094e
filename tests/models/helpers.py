"""A UNet's answer to a fixed question, and adapters that have learned something."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from emote.config import AdapterDtype, Init, LoraConfig, NestedBy
from emote.lora.adapter import trainable
from emote.models.components import load_unet

PRESETS = ("attention", "attention_ff", "all")


def lora_config(**changes: Any) -> LoraConfig:
    values: dict[str, Any] = {
        "rank": 4, "alpha": 4.0, "dropout": 0.0, "targets": "attention", "init": Init.gaussian,
        "dtype": AdapterDtype.float32, "seed": 42, "init_from": None, "variant": "lora", "nested": [],
        "nested_by": NestedBy.weights,
    }  # fmt: skip
    return LoraConfig(**(values | changes))


def sd15_unet() -> UNet2DConditionModel:
    """The UNet of Stable Diffusion 1.5 by its published configuration, without memory for weights."""
    with torch.device("meta"):
        return UNet2DConditionModel(
            sample_size=64,
            block_out_channels=(320, 640, 1280, 1280),
            layers_per_block=2,
            cross_attention_dim=768,
            attention_head_dim=8,
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        )


@functools.cache
def _loaded(directory: Path, dtype: torch.dtype) -> Any:
    return load_unet(directory, dtype)


def fresh_unet(directory: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The UNet as it is loaded; copied, which is faster."""
    return copy.deepcopy(_loaded(directory, dtype))


@torch.no_grad()
def answer(unet: Any) -> torch.Tensor:
    """The prediction [2, 4, 8, 8] for fixed latents, timesteps and context."""
    generator = torch.Generator().manual_seed(7)
    latents = torch.randn(2, 4, 8, 8, generator=generator).to(unet.dtype)
    context = torch.randn(2, 6, 16, generator=generator).to(unet.dtype)
    return unet(latents, torch.tensor([10, 700]), context).sample


@torch.no_grad()
def learn(unet: Any, scale: float = 0.2) -> None:
    """Give every adapter weight a fixed random value, B too."""
    generator = torch.Generator().manual_seed(11)
    for parameter in trainable(unet).values():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
