"""Count the arithmetic and the memory of a step, of encoding and of drawing on models without weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from emote.config import LoraConfig
from emote.data.prepared import encoded_at_once
from emote.diffusion.generate import decoded_at_once
from emote.lora.adapter import attach, trainable
from emote.lora.warm_start import warm_start
from emote.models.components import build_empty
from emote.models.conditioning import is_packed, predict
from emote.training.preflight.counter import Counter, FusedAttention

ADAPTER_BYTES = 16  # a parameter in float32, with its gradient and AdamW's two averages
ALLOCATOR_SHARE = 0.05  # added to what is counted: blocks that are rounded up, and what kernels work in


@dataclass(frozen=True)
class Work:
    """What a run computes, in parts.  step: forward and backward of one micro-batch.  frozen: number of weights.

    memory: bytes on the device that computes at the peak of each phase, weights included.
    forward_flops, encode_flops, decode_flops, caption_flops: of one row, one image, one image, one caption.
    latent_shape, text_shape: of one row of the cache.
    """

    step: Counter
    memory: dict[str, int]
    forward_flops: float
    encode_flops: float
    decode_flops: float
    caption_flops: int
    modules: int
    trainable: int
    frozen: int
    latent_shape: tuple[int, int, int]
    text_shape: tuple[int, int]


def count_work(
    base: Path, lora: LoraConfig, resolution: int, rows: int, dtype: torch.dtype, checkpointing: bool = False
) -> Work:
    """Count from the configuration files of a base model; no weight is read, nothing is computed.

    resolution: side of the images in pixels.  rows: of one micro-batch.  dtype: of the frozen weights.
    Raises ConfigError as `attach` and `warm_start` do.
    """
    unet = build_empty(UNet2DConditionModel, base, "unet", dtype)
    vae = build_empty(AutoencoderKL, base, "vae", torch.float32)
    attach(unet, lora)
    warm_start(unet, lora)
    unet.set_attn_processor(FusedAttention())
    vae.set_attn_processor(FusedAttention())
    if checkpointing:
        unet.enable_gradient_checkpointing()
    encoders = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(base.glob("text_encoder*/config.json"))]
    in_layers = sum(
        e["num_hidden_layers"] * (4 * e["hidden_size"] ** 2 + 2 * e["hidden_size"] * e["intermediate_size"])
        for e in encoders
    )
    tokens = encoders[0]["max_position_embeddings"]
    side = resolution // 2 ** (len(vae.config.block_out_channels) - 1)
    latent_shape = (int(vae.config.latent_channels), side, side)
    text_shape = (tokens + is_packed(unet.config), int(unet.config.cross_attention_dim))
    encoded, decoded = encoded_at_once(resolution), decoded_at_once(resolution, resolution)
    with torch.device("meta"):
        inputs = [torch.empty(rows, *shape, dtype=dtype) for shape in (latent_shape, (), text_shape)]
        pixels = torch.empty(encoded, int(vae.config.in_channels), resolution, resolution)
        latents = torch.empty(decoded, *latent_shape)
    with Counter([*unet.parameters(), *unet.buffers(), *inputs]) as step:
        predicted = predict(unet.train(), inputs[0], inputs[1], inputs[2], (0, 0))  # sizes take no time
        forward_flops = step.flops
        predicted.float().square().mean().backward()
    with torch.no_grad():
        with Counter([*vae.parameters(), *vae.buffers()]) as encode:
            vae.encode(pixels)
        with Counter([*vae.parameters(), *vae.buffers()]) as decode:
            vae.decode(latents)
    adapter = trainable(unet)
    learning = sum(parameter.numel() for parameter in adapter.values())
    frozen = sum(parameter.numel() for parameter in unet.parameters()) - learning
    in_text = in_layers + sum(e["hidden_size"] * (e["vocab_size"] + tokens) for e in encoders)
    of_unet = frozen * dtype.itemsize + learning * ADAPTER_BYTES
    of_vae, of_text = 4 * sum(parameter.numel() for parameter in vae.parameters()), 4 * in_text  # used in float32
    memory = {
        "cache": max(of_vae + encode.peak_bytes, of_text),
        "train": of_unet + step.peak_bytes,
        "sample": of_unet + of_vae + decode.peak_bytes,
    }
    return Work(
        step=step,
        memory={phase: int(size * (1 + ALLOCATOR_SHARE)) for phase, size in memory.items()},
        forward_flops=forward_flops / rows,
        encode_flops=encode.flops / encoded,
        decode_flops=decode.flops / decoded,
        caption_flops=2 * tokens * in_layers,
        modules=sum(".lora_A." in name for name in adapter),
        trainable=learning,
        frozen=frozen,
        latent_shape=latent_shape,
        text_shape=text_shape,
    )
