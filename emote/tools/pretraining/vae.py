"""Stage 1: the autoencoder. 64×64 RGB to 16×16 latents of 4 channels, on both art sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from emote.tools.pretraining.art_set import ArtSet, to_unit
from emote.tools.pretraining.loop import Losses, fit

KL_WEIGHT = 1e-3  # per latent element: enough to keep the latents smooth and near zero mean
EDGE_WEIGHT = 1.0  # emoji are flat areas with sharp borders: the borders are what one sees
BATCH = 16


def build_vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(32, 48, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=16,
        sample_size=64,
        scaling_factor=1.0,
    )


def reconstruction_loss(output_B3HW: torch.Tensor, target_B3HW: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of pixels and of their horizontal and vertical differences."""
    error = output_B3HW - target_B3HW
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + EDGE_WEIGHT * edges


def train_vae(art: ArtSet, work: Path, steps: int, seed: int) -> AutoencoderKL:
    """Train (or go on, or return) the autoencoder; its latents have zero mean and unit variance per channel."""
    torch.manual_seed(seed)
    vae = build_vae()
    seen = (~art.held_out).nonzero().flatten()

    def losses_at(step: int, generator: torch.Generator) -> Losses:
        chosen = seen[torch.multinomial(art.weight[seen], BATCH, generator=generator)]
        coloured = torch.rand(BATCH, generator=generator) < 0.3
        pixels = np.where(coloured.numpy()[:, None, None, None], art.coloured[chosen], art.pixels[chosen])
        images = to_unit(pixels)
        flip = torch.rand(BATCH, generator=generator) < 0.5
        images[flip] = images[flip].flip(-1)
        recolour = torch.rand(BATCH, generator=generator) < 0.25  # other palettes than these two sets have
        order = torch.randperm(3, generator=generator)
        images[recolour] = images[recolour][:, order]
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(images).latent_dist
            mean, std = posterior.mean.float(), posterior.std.float()
            latents = mean + std * torch.randn(mean.shape, generator=generator)
            output = vae.decode(latents).sample
        kl = 0.5 * (mean.square() + std.square() - 1 - 2 * std.log()).mean()
        return {"pixels": reconstruction_loss(output.float(), images), "kl": KL_WEIGHT * kl}

    ema = fit("vae", vae, losses_at, steps=steps, learning_rate=1.5e-3, work=work, seed=seed)
    vae.load_state_dict(ema)
    vae.requires_grad_(False).eval()
    standardise_latents(vae, art, seen)
    return vae


@torch.no_grad()
def standardise_latents(vae: AutoencoderKL, art: ArtSet, seen: torch.Tensor) -> None:
    """Fold a shift and a scale per channel into the 1×1 convolutions around the latents.

    Exact: the decoder undoes what the encoder does. With it `scaling_factor` is 1 and no shift is
    needed, which `StableDiffusionPipeline` would ignore.
    """
    sample = seen[:: max(1, len(seen) // 1024)]
    mean = torch.cat([vae.encode(to_unit(art.pixels[i])).latent_dist.mean for i in sample.split(64)])
    shift, scale = mean.mean(dim=(0, 2, 3)), mean.std(dim=(0, 2, 3))
    encoder, decoder = vae.quant_conv, vae.post_quant_conv
    encoder.weight[:4] /= scale[:, None, None, None]
    encoder.bias[:4] = (encoder.bias[:4] - shift) / scale
    encoder.bias[4:] -= 2 * scale.log()  # the log-variance
    decoder.bias += (decoder.weight[:, :, 0, 0] * shift).sum(dim=1)
    decoder.weight *= scale[None, :, None, None]
