"""The parts of a base model in diffusers' layout, each loaded on its own and only when it is needed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from safetensors import SafetensorError
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, CLIPTokenizerFast

from emote.models.locate import locate as locate  # the first step of loading
from emote.models.single_file import OneFile, load_part
from emote.models.weights import VARIANTS, weight_files
from emote.models.weights import fingerprint as fingerprint
from emote.util.errors import ConfigError

Device = torch.device | str
TEXT_ENCODERS = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}


def load_tokenizer(path: Path, part: str = "tokenizer") -> CLIPTokenizer:
    """part: tokenizer, or tokenizer_2 of XL."""
    # of transformers 4, this class alone reads tokenizer.json; of 5, it is CLIPTokenizer itself
    return _load(path, part, lambda: CLIPTokenizerFast.from_pretrained(Path(path) / part))


def load_text_encoder(
    path: Path,
    dtype: torch.dtype = torch.float32,
    device: Device = "cpu",
    *,
    variant: str | None = None,
    part: str = "text_encoder",
) -> Any:
    """A text encoder, frozen and in eval mode. Raises ConfigError where it cannot be loaded whole.

    part: text_encoder, or text_encoder_2 of XL, which has a projection.
    """
    return _load_weights(TEXT_ENCODERS[part], path, part, dtype, variant).to(device=device, dtype=dtype)


def load_vae(
    path: Path, dtype: torch.dtype = torch.float32, device: Device = "cpu", *, variant: str | None = None
) -> AutoencoderKL:
    """The autoencoder, frozen and in eval mode. Raises ConfigError where it cannot be loaded whole."""
    return _load_weights(AutoencoderKL, path, "vae", dtype, variant).to(device)


def load_unet(
    path: Path, dtype: torch.dtype = torch.float32, device: Device = "cpu", *, variant: str | None = None
) -> UNet2DConditionModel:
    """The denoiser, frozen and in eval mode. Raises ConfigError where it cannot be loaded whole."""
    return _load_weights(UNet2DConditionModel, path, "unet", dtype, variant).to(device)


def build_empty(kind: Any, path: Path, part: str, dtype: torch.dtype) -> Any:
    """A part by its configuration alone, on the meta device, where weights have shapes and take no memory."""
    with torch.device("meta"):
        model = kind.from_config(json.loads((Path(path) / part / "config.json").read_text(encoding="utf-8")))
    return nn.Module.to(model, dtype).eval()  # diffusers' own `to` warns of what is computed


def load_scheduler(path: Path) -> DDPMScheduler:
    """The noise schedule of training; whichever sampler the model ships with has the same betas.

    A single file's own markers win over the configuration that is taken for it. Nothing is clipped when it samples:
    latents are not confined to [-1, 1].
    """
    own = path.schedule if isinstance(path, OneFile) else {}
    return _load(
        path, "scheduler", lambda: DDPMScheduler.from_pretrained(path, subfolder="scheduler", clip_sample=False, **own)
    )


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> Any:
    """input_ids and attention_mask, each [B, T]: padded and cut to T, the tokenizer's full length."""
    return tokenizer(
        captions, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )


@torch.no_grad()
def encode_prompts(tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, captions: list[str]) -> torch.Tensor:
    """What the UNet is conditioned on: [B, T, D] in the encoder's dtype, T the tokenizer's full length.

    The last hidden state after padding and truncation, as `StableDiffusionPipeline.encode_prompt` has it.
    """
    tokens = tokenize(tokenizer, captions)
    # Stable Diffusion attends to the padding too, unless the encoder's configuration says otherwise
    mask = tokens.attention_mask.to(text_encoder.device)
    use_mask = getattr(text_encoder.config, "use_attention_mask", None)
    return text_encoder(tokens.input_ids.to(text_encoder.device), attention_mask=mask if use_mask else None)[0]


@torch.no_grad()
def encode_images(vae: AutoencoderKL, pixels_B3HW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean, logvar) of the latents' posterior, each float32 [B, C, H / f, W / f], for pixels in [-1, 1].

    Both are scaled already: `mean + exp(logvar / 2) · noise` are the latents that the UNet is trained on, so the mean
    is the posterior's times `vae.config.scaling_factor`, the log-variance plus twice that factor's logarithm.
    """
    posterior = vae.encode(pixels_B3HW.to(device=vae.device, dtype=vae.dtype)).latent_dist
    factor = float(vae.config["scaling_factor"])
    return posterior.mean.float() * factor, posterior.logvar.float() + 2 * math.log(factor)


def _load_weights(kind: Any, path: Path, part: str, dtype: torch.dtype, variant: str | None) -> Any:
    """A model from safetensors alone, with every weight present, frozen, in eval mode.

    Weights are converted to `dtype` one by one as they are read, but transformers' models keep the file's.
    """
    files = weight_files(path, part, variant)
    if not files:
        raise ConfigError(f"{Path(path) / part} has no weights as safetensors (others may run code and are not loaded)")
    if isinstance(path, OneFile):
        return _load(path.file, part, lambda: load_part(kind, path, part, dtype)).requires_grad_(False)
    # the keyword for the dtype differs between transformers' versions
    keywords = {} if kind in TEXT_ENCODERS.values() else {"torch_dtype": dtype}
    chosen = next((v for v in (variant, *VARIANTS) if v and f".{v}" in files[0].name), None)
    model, info = _load(
        path,
        part,
        lambda: kind.from_pretrained(
            str(Path(path) / part), use_safetensors=True, variant=chosen, local_files_only=True,
            output_loading_info=True, **keywords,
        ),
    )  # fmt: skip
    # position_ids was a saved buffer once; it is a constant
    missing = sorted(str(name) for name in info["missing_keys"] if not str(name).endswith("position_ids"))
    if missing:
        raise ConfigError(f"{Path(path) / part} lacks {len(missing)} weights, such as {missing[0]}")
    assert isinstance(model, nn.Module)
    return model.requires_grad_(False).eval()


def _load(path: Path, part: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(f"{Path(path) / part} cannot be loaded: {reason}") from error
