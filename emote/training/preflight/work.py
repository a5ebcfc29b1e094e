"""The arithmetic and the memory of a step, of encoding and of drawing, counted on models without weights."""

from __future__ import annotations

import functools
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from emote.config import Init, LoraConfig
from emote.data.prepared import encoded_at_once
from emote.diffusion.generate import BATCH as DRAWN_AT_ONCE
from emote.diffusion.generate import decoded_at_once
from emote.lora.adapter import attach, target_names, trainable
from emote.lora.warm_start import warm_start
from emote.models.conditioning import is_packed, predict
from emote.training.preflight.ledger import Ledger, Operation

__all__ = ["DRAWN_AT_ONCE", "Counted", "Work", "check_start", "count_work"]


@dataclass(frozen=True)
class Counted:
    """flops: of all rows.  peak_bytes: of what was alive at once, without the weights."""

    flops: int
    operations: Counter[Operation]
    peak_bytes: int

    @property
    def calls(self) -> int:
        return self.operations.total()


@dataclass(frozen=True)
class Work:
    """step: forward and backward of one micro-batch of `rows`.  forward_flops: of one row.

    encode, decode: of the VAE, for a batch of `encoded` and `decoded` images.  caption_flops: of one caption, by
    all text encoders.  frozen and vae_parameters are numbers of weights, latent and text_shape those of one row of
    the cache.
    """

    rows: int
    step: Counted
    forward_flops: int
    encode: Counted
    decode: Counted
    encoded: int
    decoded: int
    caption_flops: int
    modules: int
    trainable: int
    frozen: int
    vae_parameters: int
    text_parameters: int
    latent_shape: tuple[int, int, int]
    text_shape: tuple[int, int]

    @property
    def encode_flops(self) -> float:
        """Of one image."""
        return self.encode.flops / self.encoded

    @property
    def decode_flops(self) -> float:
        """Of one image."""
        return self.decode.flops / self.decoded


def count_work(
    base: Path, lora: LoraConfig, resolution: int, rows: int, dtype: torch.dtype, checkpointing: bool = False
) -> Work:
    """Count from the configuration files of a base model; no weight is read, nothing is computed.

    resolution: side of the images in pixels.  rows: of one micro-batch.  dtype: of the frozen weights.
    Raises ConfigError as `attach` does.
    """
    unet, vae, *encoders = (
        (base / part / "config.json").read_text(encoding="utf-8")
        for part in ("unet", "vae", "text_encoder", "text_encoder_2")
        if part != "text_encoder_2" or (base / part).is_dir()
    )
    # the numbers of the adapter cost nothing and are not counted
    shape = (lora.rank, tuple(target_names(lora)), lora.dropout > 0, lora.dtype)
    return _count(unet, vae, tuple(encoders), shape, resolution, rows, dtype, checkpointing)


def check_start(base: Path, lora: LoraConfig) -> None:
    """Raises ConfigError, before weights are read, where `lora.init_from` is no adapter for this model and targets."""
    if lora.init_from is not None:
        unet = build_unet(json.loads((base / "unet" / "config.json").read_text(encoding="utf-8")), torch.float32)
        attach(unet, lora)
        warm_start(unet, lora)


@functools.lru_cache(maxsize=8)  # a sweep counts once
def _count(
    unet_text: str, vae_text: str, encoder_texts: tuple[str, ...], shape: tuple[Any, ...], resolution: int, rows: int,
    dtype: torch.dtype, checkpointing: bool,
) -> Work:  # fmt: skip
    unet_config, vae_config = json.loads(unet_text), json.loads(vae_text)
    encoders = [TextEncoder.of(json.loads(text)) for text in encoder_texts]
    rank, targets, dropped, adapter_dtype = shape
    unet = build_unet(unet_config, dtype)
    attach(
        unet, LoraConfig(rank, float(rank), 0.1 * dropped, list(targets), Init.gaussian, adapter_dtype, 0, None, "lora")
    )
    adapter = trainable(unet)
    side = resolution // 2 ** (len(vae_config["block_out_channels"]) - 1)
    latent_shape = (int(vae_config["latent_channels"]), side, side)
    tokens = encoders[0].tokens
    text_shape = (tokens + is_packed(unet_config), int(unet_config["cross_attention_dim"]))
    vae = _build(AutoencoderKL, vae_config, torch.float32)
    step, forward_flops = count_step(unet, rows, latent_shape, text_shape, checkpointing)
    encoded, decoded = encoded_at_once(resolution), decoded_at_once(resolution, resolution)
    with torch.device("meta"):
        pixels = torch.empty(encoded, int(vae_config["in_channels"]), resolution, resolution)
        latents = torch.empty(decoded, *latent_shape)
    return Work(
        rows=rows,
        step=step,
        forward_flops=forward_flops,
        encode=_count_frozen(vae, vae.encode, pixels),
        decode=_count_frozen(vae, vae.decode, latents),
        encoded=encoded,
        decoded=decoded,
        caption_flops=2 * tokens * sum(encoder.in_layers for encoder in encoders),
        modules=len(adapter) // 2,
        trainable=sum(parameter.numel() for parameter in adapter.values()),
        frozen=sum(parameter.numel() for name, parameter in unet.named_parameters() if name not in adapter),
        vae_parameters=sum(parameter.numel() for parameter in vae.parameters()),
        text_parameters=sum(encoder.parameters for encoder in encoders),
        latent_shape=latent_shape,
        text_shape=text_shape,
    )


@dataclass(frozen=True)
class TextEncoder:
    """in_layers, parameters: numbers of weights, in the layers' matrices and in all."""

    tokens: int
    in_layers: int
    parameters: int

    @classmethod
    def of(cls, config: dict[str, Any]) -> TextEncoder:
        """By its configuration as transformers writes it."""
        width, inner = int(config["hidden_size"]), int(config["intermediate_size"])
        tokens = int(config["max_position_embeddings"])
        in_layers = int(config["num_hidden_layers"]) * (4 * width * width + 2 * width * inner)
        return cls(tokens, in_layers, in_layers + width * (int(config["vocab_size"]) + tokens))


def build_unet(config: dict[str, Any], dtype: torch.dtype) -> UNet2DConditionModel:
    """The UNet of a configuration on the meta device, where weights have shapes and take no memory."""
    return _build(UNet2DConditionModel, config, dtype)


def count_step(
    unet: UNet2DConditionModel,
    rows: int,
    latent_shape: tuple[int, int, int],
    text_shape: tuple[int, int],
    checkpointing: bool = False,
) -> tuple[Counted, int]:
    """A training step of the UNet with its adapter, and the FLOPs of going forward with one row."""
    if checkpointing:
        unet.enable_gradient_checkpointing()
    unet.train()
    inputs = _inputs(unet, rows, latent_shape, text_shape)
    size_px = (0, 0)  # XL reads it, and it takes no time
    with Ledger([*unet.parameters(), *unet.buffers(), *inputs]) as ledger:
        predicted = predict(unet, *inputs, size_px)
        forward_flops = ledger.flops
        predicted.float().square().mean().backward()
    unet.zero_grad()
    return Counted(ledger.flops, ledger.operations, ledger.peak_bytes), forward_flops // rows


@torch.no_grad()
def _count_frozen(vae: AutoencoderKL, function: Any, argument: torch.Tensor) -> Counted:
    with Ledger([*vae.parameters(), *vae.buffers()]) as ledger:
        function(argument)
    return Counted(ledger.flops, ledger.operations, ledger.peak_bytes)


def _inputs(
    unet: UNet2DConditionModel, rows: int, latent_shape: tuple[int, int, int], text_shape: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noisy latents, timesteps, conditioning."""
    with torch.device("meta"):
        latents = torch.empty(rows, *latent_shape, dtype=unet.dtype)
        return latents, torch.empty(rows, dtype=torch.int64), torch.empty(rows, *text_shape, dtype=unet.dtype)


def _build(kind: Any, config: dict[str, Any], dtype: torch.dtype) -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"):
            return kind.from_config(config).eval()
    finally:
        torch.set_default_dtype(before)
