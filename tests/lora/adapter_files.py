"""Adapter files as other people's tools write them, and what is taken for one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import save_file

from tests.models.helpers import sd15_unet

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
TEXT_LAYER = "text_model.encoder.layers.0"


@functools.cache
def sdxl_unet() -> UNet2DConditionModel:
    """The UNet of Stable Diffusion XL by its published configuration, without memory for weights."""
    with torch.device("meta"):
        return UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            layers_per_block=2,
            cross_attention_dim=2048,
            attention_head_dim=(5, 10, 20),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )


def adapted(unet: UNet2DConditionModel, endings: tuple[str, ...] = ATTENTION) -> dict[str, torch.Size]:
    """Module → shape of its weight, of the modules whose names end so."""
    return {n: m.weight.shape for n, m in unet.named_modules() if n.endswith(tuple(f".{end}" for end in endings))}


def published(path: Path, dtype: torch.dtype = torch.bfloat16, rank: int = 4) -> Path:
    """As the reported run's checkpoints: SD 1.5's attention, peft's names under `unet.`, no alpha and no settings."""
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for name, (out, inside) in adapted(sd15_unet()).items():
        tensors[f"unet.{name}.lora_A.weight"] = torch.randn(rank, inside, generator=generator).to(dtype)
        tensors[f"unet.{name}.lora_B.weight"] = torch.randn(out, rank, generator=generator).to(dtype)
    save_file(tensors, path, {"format": "pt"})
    return path


def kohya_with_text(path: Path, width: int = 16, dtype: torch.dtype = torch.float32) -> Path:
    """As kohya's scripts write it for the tiny Stable Diffusion: two UNet layers and three of the text encoder."""
    generator = torch.Generator().manual_seed(4)
    shapes = {
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k": (width, width, 4, 2.0),
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0": (2 * width, 2 * width, 2, 2.0),
        f"lora_te_{TEXT_LAYER.replace('.', '_')}_self_attn_q_proj": (width, width, 4, 1.0),
        f"lora_te_{TEXT_LAYER.replace('.', '_')}_self_attn_out_proj": (width, width, 4, 1.0),
        f"lora_te_{TEXT_LAYER.replace('.', '_')}_mlp_fc1": (2 * width, width, 4, 1.0),
    }
    tensors = {}
    for name, (out, inside, rank, alpha) in shapes.items():
        tensors[f"{name}.lora_down.weight"] = torch.randn(rank, inside, generator=generator).to(dtype)
        tensors[f"{name}.lora_up.weight"] = torch.randn(out, rank, generator=generator).to(dtype)
        tensors[f"{name}.alpha"] = torch.tensor(alpha, dtype=dtype)
    save_file(tensors, path, {"ss_learning_rate": "1e-4", "ss_steps": "1200", "ss_network_dim": "4"})
    return path


def lycoris(path: Path) -> Path:
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    parts = {f"hada_w{i}_{side}": torch.zeros(4, 320) for i in (1, 2) for side in "ab"}
    save_file({f"{name}.{part}": tensor for part, tensor in parts.items()}, path)
    return path


def dora(path: Path) -> Path:
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    save_file(
        {
            f"{name}.lora_down.weight": torch.zeros(4, 320),
            f"{name}.lora_up.weight": torch.zeros(320, 4),
            f"{name}.dora_scale": torch.ones(320, 1),
        },
        path,
    )
    return path


def some_tensors(path: Path) -> Path:
    save_file({"weight": torch.zeros(3), "bias": torch.zeros(1)}, path)
    return path


class Trap:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def cut_off(path: Path, of: Path, left: int = -100) -> Path:
    path.write_bytes(of.read_bytes()[:left])
    return path
