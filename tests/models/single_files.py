"""Make a single-file checkpoint, with CompVis's names, of a model in diffusers' layout."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
OUTSIDE = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def write_single_file(directory: Path, to: Path, dtype: torch.dtype | None = None) -> Path:
    """Write UNet, VAE and text encoder of `directory` to one file, all in `dtype`, and return its path."""
    unet_config = json.loads((directory / "unet" / "config.json").read_text())
    renamed = {}
    for name, tensor in _tensors(directory / "unet" / "diffusion_pytorch_model.safetensors").items():
        renamed[f"model.diffusion_model.{_unet_name(name, unet_config)}"] = tensor
    blocks = len(json.loads((directory / "vae" / "config.json").read_text())["block_out_channels"])
    for name, tensor in _tensors(directory / "vae" / "diffusion_pytorch_model.safetensors").items():
        is_attention = ".mid_block.attentions." in name and "group_norm" not in name and name.endswith(".weight")
        renamed[f"first_stage_model.{_vae_name(name, blocks)}"] = tensor[:, :, None, None] if is_attention else tensor
    for name, tensor in _tensors(directory / "text_encoder" / "model.safetensors").items():
        inner = name.removeprefix("text_model.")
        renamed[f"cond_stage_model.transformer.text_model.{inner}"] = tensor
    save_file({name: tensor.to(dtype or tensor.dtype).contiguous() for name, tensor in renamed.items()}, to)
    return to


def _tensors(file: Path) -> dict[str, torch.Tensor]:
    with safe_open(file, framework="pt") as tensors:
        return {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118


def _unet_name(name: str, config: dict) -> str:
    for ours, theirs in OUTSIDE.items():
        if name.startswith(f"{ours}."):
            return theirs + name.removeprefix(ours)
    stride = config["layers_per_block"] + 1
    way, rest = name.split(".", 1)
    if way == "mid_block":
        kind, index, inner = rest.split(".", 2)
        return f"middle_block.{2 * int(index) + (kind == 'attentions')}.{_resnet(kind, inner)}"
    block, kind, index, inner = rest.split(".", 3)
    if kind == "downsamplers":
        return f"input_blocks.{stride * (int(block) + 1)}.0.{inner.replace('conv', 'op')}"
    if kind == "upsamplers":
        slot = 2 if "CrossAttn" in config["up_block_types"][int(block)] else 1
        return f"output_blocks.{stride * int(block) + stride - 1}.{slot}.{inner}"
    slot = int(kind == "attentions")
    if way == "down_blocks":
        return f"input_blocks.{stride * int(block) + int(index) + 1}.{slot}.{_resnet(kind, inner)}"
    return f"output_blocks.{stride * int(block) + int(index)}.{slot}.{_resnet(kind, inner)}"


def _resnet(kind: str, inner: str) -> str:
    if kind != "resnets":
        return inner
    part, _, leaf = inner.rpartition(".")
    return f"{RESNET[part]}.{leaf}"


def _vae_name(name: str, blocks: int) -> str:
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    if found := re.fullmatch(r"(.*)mid_block\.attentions\.0\.(.+)\.(\w+)", name):
        return f"{found[1]}mid.attn_1.{VAE_ATTENTION[found[2]]}.{found[3]}"
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{blocks - 1 - int(m[1])}.upsample", name)
    name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
    return re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{blocks - 1 - int(m[1])}.block.{m[2]}", name)
