"""The one way from text embeddings and seeds to images: noise, denoising with guidance, decoding.

Computes what `StableDiffusionPipeline` does, to the bit on a CPU, but holds latents in float32 whatever the UNet's
dtype is, and draws the noise on the CPU in float32, so that a seed means the same image on every device.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image

from emote.diffusion.samplers import make_scheduler
from emote.models.conditioning import predict

BATCH = 4  # fixed: the same seed gives the same bits however many images are asked for
DECODED_PIXELS = 4 * 512**2  # that the VAE makes at once; more take several GB in float32


def generate(
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    training_schedule: Any,
    prompts_NTD: torch.Tensor,
    empty_TD: torch.Tensor,
    seeds: list[int],
    *,
    resolution: int,
    inference_steps: int,
    guidance_scale: float,
    scheduler: str = "dpm++",
    on_batch: Callable[[int], None] = lambda done: None,
) -> list[Image.Image]:
    """Return one square image for each (prompt embedding, seed), in full batches of BATCH. The dtypes may differ.

    prompts_NTD: text embeddings of the N prompts; empty_TD: of the empty prompt, for guidance.
    on_batch: told how many images are done.
    """
    images: list[Image.Image] = []
    for start in range(0, len(seeds), BATCH):
        rows = [min(start + i, len(seeds) - 1) for i in range(BATCH)]  # the last batch is filled up
        pixels_B3HW = draw_batch(
            unet,
            vae,
            training_schedule,
            prompts_NTD[rows],
            empty_TD.expand_as(prompts_NTD[rows]),
            [seeds[row] for row in rows],
            width=resolution,
            height=resolution,
            inference_steps=inference_steps,
            guidance_scale=guidance_scale,
            scheduler=scheduler,
        )
        images += to_images(pixels_B3HW)[: len(seeds) - start]
        on_batch(len(images))
    return images


@torch.inference_mode()
def draw_batch(
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    training_schedule: Any,
    prompts_BTD: torch.Tensor,
    against_BTD: torch.Tensor,
    seeds: list[int],
    *,
    width: int,
    height: int,
    inference_steps: int,
    guidance_scale: float,
    scheduler: str = "dpm++",
    eta: float | None = None,
    on_step: Callable[[int, int], None] = lambda done, of: None,
) -> torch.Tensor:
    """Return pixels [B, 3, height, width], float32 on the CPU, about -1 to 1, of one image a row.

    against_BTD: embeddings of the negative prompts; they play no part where guidance_scale is 1 or less.
    eta: how much of the noise is drawn anew at each step, for samplers that ask. on_step: told how many calls of the
    UNet are done, of how many.
    """
    factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    shape = (1, unet.config["in_channels"], height // factor, width // factor)
    noise_BCHW = torch.cat([torch.randn(shape, generator=generator) for generator in generators])
    latents_BCHW = denoise(
        unet, make_scheduler(scheduler, training_schedule), noise_BCHW, prompts_BTD, against_BTD, generators,
        size_px=(height, width), inference_steps=inference_steps, guidance_scale=guidance_scale, eta=eta,
        on_step=on_step,
    )  # fmt: skip
    latents_BCHW = latents_BCHW.to(vae.device, vae.dtype) / vae.config["scaling_factor"]
    parts = latents_BCHW.split(decoded_at_once(width, height))
    return torch.cat([vae.decode(part).sample.cpu().float() for part in parts])


def decoded_at_once(width: int, height: int) -> int:
    """Return images of this size in pixels that the VAE decodes in one batch, at most BATCH."""
    return min(BATCH, max(1, DECODED_PIXELS // (width * height)))


def denoise(
    unet: UNet2DConditionModel,
    scheduler: Any,
    noise_BCHW: torch.Tensor,
    prompts_BTD: torch.Tensor,
    against_BTD: torch.Tensor,
    generators: list[torch.Generator],
    *,
    size_px: tuple[int, int],
    inference_steps: int,
    guidance_scale: float,
    on_step: Callable[[int, int], None],
    eta: float | None = None,
) -> torch.Tensor:
    """Return latents, float32 on the UNet's device, from unit noise: ε = ε(against) + scale · (ε(prompt) − ε(against)).

    Ho and Salimans, classifier-free diffusion guidance, arXiv 2207.12598, in Imagen's parametrisation.
    """
    device, dtype, guided = unet.device, unet.dtype, guidance_scale > 1
    words = torch.cat([against_BTD, prompts_BTD]) if guided else prompts_BTD
    words = words.to(device, dtype)
    takes = inspect.signature(scheduler.step).parameters
    own_noise: dict[str, Any] = {"generator": generators} if "generator" in takes else {}
    if eta is not None and "eta" in takes:
        own_noise["eta"] = eta
    scheduler.set_timesteps(inference_steps, device=device)
    latents_BCHW = noise_BCHW.to(device) * scheduler.init_noise_sigma
    for done, timestep in enumerate(scheduler.timesteps, 1):
        seen = torch.cat([latents_BCHW] * 2) if guided else latents_BCHW
        seen = scheduler.scale_model_input(seen, timestep).to(dtype)
        predicted = predict(unet, seen, timestep, words, size_px).float()
        if guided:
            without_BCHW, with_BCHW = predicted.chunk(2)
            predicted = without_BCHW + guidance_scale * (with_BCHW - without_BCHW)
        latents_BCHW = scheduler.step(predicted, timestep, latents_BCHW, **own_noise).prev_sample
        on_step(done, len(scheduler.timesteps))
    return latents_BCHW


def to_images(pixels_B3HW: torch.Tensor) -> list[Image.Image]:
    """Return RGB images from pixels in [-1, 1]; what lies beyond is clipped, and what is no number is black."""
    pixels = (pixels_B3HW * 0.5 + 0.5).clamp(0, 1).nan_to_num(0)
    bytes_BHW3 = (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return [Image.fromarray(array) for array in bytes_BHW3]
