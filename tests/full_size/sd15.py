"""Stable Diffusion 1.5 by its published configuration, with random weights, and the names that follow from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

UNET: dict[str, Any] = {
    "sample_size": 64, "in_channels": 4, "out_channels": 4, "layers_per_block": 2, "cross_attention_dim": 768,
    "attention_head_dim": 8, "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
}  # fmt: skip
VAE: dict[str, Any] = {
    "sample_size": 512, "in_channels": 3, "out_channels": 3, "latent_channels": 4, "layers_per_block": 2,
    "block_out_channels": (128, 256, 512, 512), "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4, "scaling_factor": 0.18215,
}  # fmt: skip
CLIP: dict[str, Any] = {
    "vocab_size": 49408, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "max_position_embeddings": 77, "hidden_act": "quick_gelu", "projection_dim": 768,
}  # fmt: skip
SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 1,
}  # fmt: skip
WIDTHS, TEXT_WIDTH = UNET["block_out_channels"], UNET["cross_attention_dim"]


def attention_modules() -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of every projection of the UNet's attention, by its name in diffusers: 16 blocks of 8.

    Two transformers in each of the first three blocks on the way down, one in the middle, three in each of the last
    three on the way up; each attends to itself and to the text.
    """
    blocks = [(f"down_blocks.{i}.attentions.{j}", WIDTHS[i]) for i in range(3) for j in range(2)]
    blocks += [("mid_block.attentions.0", WIDTHS[3])]
    blocks += [(f"up_blocks.{i}.attentions.{j}", WIDTHS[3 - i]) for i in range(1, 4) for j in range(3)]
    found = {}
    for block, width in blocks:
        for attention, context in (("attn1", width), ("attn2", TEXT_WIDTH)):
            for part, inputs in (("to_q", width), ("to_k", context), ("to_v", context), ("to_out.0", width)):
                found[f"{block}.transformer_blocks.0.{attention}.{part}"] = (inputs, width)
    return found


def save_random(directory: Path) -> Path:
    """Write a pipeline with random float32 weights (4.3 GB) as stock diffusers saves it."""
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    from emote.models.single_file import PUBLISHED

    torch.manual_seed(0)
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**UNET), AutoencoderKL(**VAE)
        text_encoder = CLIPTextModel(CLIPTextConfig(**CLIP))
    StableDiffusionPipeline(
        vae=filled(vae),
        text_encoder=filled(text_encoder),
        tokenizer=CLIPTokenizer.from_pretrained(PUBLISHED / "sd15" / "tokenizer"),
        unet=filled(unet),
        scheduler=PNDMScheduler(**SCHEDULE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(directory)
    return directory


def filled(model: nn.Module) -> Any:
    """A model of the meta device with random weights, whose answers are finite."""
    from emote.tools.gpu_check.steps import fill_randomly

    model = fill_randomly(model.to_empty(device="cpu"))
    for name, buffer in model.named_buffers():
        if name.endswith("position_ids"):
            buffer.copy_(torch.arange(buffer.shape[-1]).expand_as(buffer))
    return model


def with_adapter(unet_config: dict[str, Any], rank: int) -> Any:
    """The UNet without memory for its weights, with an adapter on its attention that has some."""
    from diffusers import UNet2DConditionModel

    from emote.lora.adapter import attach, trainable
    from tests.models.helpers import lora_config

    with torch.device("meta"):
        unet = UNet2DConditionModel(**unet_config)
    attach(unet, lora_config(rank=rank, alpha=float(rank)))
    for name, parameter in trainable(unet).items():
        owner, _, leaf = name.rpartition(".")
        setattr(unet.get_submodule(owner), leaf, nn.Parameter(torch.randn(parameter.shape)))
    return unet


def shapes(file: Path) -> dict[str, list[int]]:
    """Of the tensors in a safetensors file."""
    with safe_open(file, framework="pt") as tensors:
        return {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118


def describe(**values: Any) -> None:
    """Print for the test that started this process."""
    print(json.dumps(values), flush=True)
