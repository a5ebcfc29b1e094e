"""Stable Diffusion XL by its published configuration, with a UNet of random weights, and the names that follow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tests.full_size.sd15 import CLIP, SCHEDULE, VAE, filled

UNET: dict[str, Any] = {
    "sample_size": 128, "in_channels": 4, "out_channels": 4, "layers_per_block": 2, "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20), "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10), "use_linear_projection": True, "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip
OPEN_CLIP: dict[str, Any] = {
    "vocab_size": 49408, "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32,
    "num_attention_heads": 20, "max_position_embeddings": 77, "hidden_act": "gelu", "projection_dim": 1280,
}  # fmt: skip
# (in diffusers, in the original model and so in kohya's file, width, transformer blocks)
PLACES = [
    *((f"down_blocks.1.attentions.{i}", f"input_blocks.{4 + i}.1", 640, 2) for i in range(2)),
    *((f"down_blocks.2.attentions.{i}", f"input_blocks.{7 + i}.1", 1280, 10) for i in range(2)),
    ("mid_block.attentions.0", "middle_block.1", 1280, 10),
    *((f"up_blocks.0.attentions.{i}", f"output_blocks.{i}.1", 1280, 10) for i in range(3)),
    *((f"up_blocks.1.attentions.{i}", f"output_blocks.{3 + i}.1", 640, 2) for i in range(3)),
]


def attention_modules() -> dict[str, tuple[str, int, int]]:
    """diffusers' name → (the original's, inputs, outputs) of every projection of the UNet's attention."""
    found = {}
    for ours, theirs, width, depth in PLACES:
        for block in range(depth):
            for attention, context in (("attn1", width), ("attn2", UNET["cross_attention_dim"])):
                for part, inputs in (("to_q", width), ("to_k", context), ("to_v", context), ("to_out.0", width)):
                    rest = f"transformer_blocks.{block}.{attention}.{part}"
                    found[f"{ours}.{rest}"] = (f"{theirs}.{rest}", inputs, width)
    return found


def save_random_unet(directory: Path) -> Path:
    """Write a UNet with random float32 weights (10.3 GB) and the configurations of the other parts."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    with torch.device("meta"):
        unet = UNet2DConditionModel(**UNET)
    filled(unet).save_pretrained(directory / "unet")
    configs = {
        "vae/config.json": VAE | {"scaling_factor": 0.13025}, "text_encoder/config.json": CLIP,
        "text_encoder_2/config.json": OPEN_CLIP, "scheduler/scheduler_config.json": SCHEDULE,
    }  # fmt: skip
    for name, values in configs.items():
        (directory / name).parent.mkdir()
        (directory / name).write_text(json.dumps(values))
    return directory
