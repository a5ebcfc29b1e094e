"""The parts of a base model by its configuration alone, with random weights, made where they are used."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel


def random_unet(base: Path, dtype: torch.dtype, device: torch.device) -> UNet2DConditionModel:
    """base: a directory in diffusers' layout; no weights are read."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(base, subfolder="unet"))
    return _filled(unet, dtype, device)


def random_vae(base: Path, dtype: torch.dtype, device: torch.device) -> AutoencoderKL:
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(base, subfolder="vae"))
    return _filled(vae, dtype, device)


def random_text_encoder(base: Path, dtype: torch.dtype, device: torch.device) -> CLIPTextModel:
    with torch.device("meta"):
        text_encoder = CLIPTextModel(CLIPTextConfig.from_pretrained(Path(base) / "text_encoder"))
    text_encoder = _filled(text_encoder, dtype, device)
    for name, buffer in text_encoder.named_buffers():
        if name.endswith("position_ids"):  # a constant that an empty model has lost
            buffer.copy_(torch.arange(buffer.shape[-1]).expand_as(buffer))
    return text_encoder


def fill_randomly(model: nn.Module) -> Any:
    """Uniform weights of the spread that PyTorch's layers start with; norms as they start, biases zero."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                bound = 1 / math.sqrt(math.prod(parameter.shape[1:]))
                parameter.uniform_(-bound, bound)
            else:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    return model


def _filled(model: nn.Module, dtype: torch.dtype, device: torch.device) -> Any:
    return fill_randomly(model.to(dtype).to_empty(device=device)).requires_grad_(False).eval()
