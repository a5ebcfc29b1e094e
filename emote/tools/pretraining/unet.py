"""Stage 3: the denoiser, on Twemoji only, so that OpenMoji's style is new to it."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTextModel, CLIPTokenizer

from emote.tools.pretraining.art_set import ArtSet, to_unit, write_caption
from emote.tools.pretraining.loop import Losses, fit
from emote.tools.pretraining.towers import tokenize

BATCH = 32
CAPTION_DROPOUT = 0.1
SNR_GAMMA = 5.0
CAPTION_VARIANTS = 6


def build_unet() -> UNet2DConditionModel:
    """SD 1.5's layout in small: cross-attention at the highest resolution, none at the lowest."""
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(64, 96, 160),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=128,
        attention_head_dim=2,  # diffusers' name for the number of heads
        norm_num_groups=32,
    )


def noise_schedule() -> DDPMScheduler:
    """SD 1.5's own."""
    return DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )


def train_unet(
    art: ArtSet,
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    work: Path,
    steps: int,
    seed: int,
) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    unet = build_unet()
    unet.set_attn_processor(AttnProcessor())  # torch's fused attention is slow backwards in bf16 on CPUs
    schedule = noise_schedule()
    chosen = art.of_style("twemoji")
    weight = art.weight[chosen]
    with torch.no_grad():
        posteriors = [vae.encode(to_unit(art.pixels[i])).latent_dist for i in chosen.split(64)]
        mean = torch.cat([p.mean for p in posteriors])
        std = torch.cat([p.std for p in posteriors])
        empty = text_encoder(tokenize(tokenizer, [""])).last_hidden_state[0]
        captions = [
            [write_caption(art.names[i], art.aliases[i], "twemoji", torch.Generator().manual_seed(97 * i + k))
             for k in range(CAPTION_VARIANTS)]
            for i in chosen.tolist()
        ]  # fmt: skip
        flat = [caption for variants in captions for caption in variants]
        embeddings = torch.cat(
            [
                text_encoder(tokenize(tokenizer, flat[i : i + 256])).last_hidden_state.half()
                for i in range(0, len(flat), 256)
            ]
        ).view(len(captions), CAPTION_VARIANTS, *empty.shape)

    def losses_at(step: int, generator: torch.Generator) -> Losses:
        rows = torch.multinomial(weight, BATCH, generator=generator)
        variant = torch.randint(CAPTION_VARIANTS, (BATCH,), generator=generator)
        context = embeddings[rows, variant].float()
        context[torch.rand(BATCH, generator=generator) < CAPTION_DROPOUT] = empty
        latents = mean[rows] + std[rows] * torch.randn(mean[rows].shape, generator=generator)
        noise = torch.randn(latents.shape, generator=generator)
        # evenly spread over the schedule from a random start: less variance between steps than independent ones
        start = torch.rand(1, generator=generator)
        timesteps = ((start + torch.arange(BATCH) / BATCH) % 1 * 1000).long()
        with torch.autocast("cpu", torch.bfloat16):
            predicted = unet(schedule.add_noise(latents, noise, timesteps), timesteps, context).sample
        alpha = schedule.alphas_cumprod[timesteps]
        snr_weight = (SNR_GAMMA * (1 - alpha) / alpha).clamp(max=1.0)  # min-SNR, arXiv 2303.09556
        error = (predicted.float() - noise).square().mean(dim=(1, 2, 3))
        return {"weighted": (snr_weight * error).mean()}

    ema = fit("unet", unet, losses_at, steps=steps, learning_rate=8e-4, work=work, seed=seed)
    unet.load_state_dict(ema)
    return unet.requires_grad_(False).eval()
