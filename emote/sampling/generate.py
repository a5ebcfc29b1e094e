"""Draw pictures with the stock Stable Diffusion pipeline, one random generator a picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    SchedulerMixin,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image

BATCH = 4  # fixed: the same seed gives the same bits however many pictures are asked for


def sampling_scheduler(training_config: Any) -> SchedulerMixin:
    """DPM-Solver++ (arXiv 2211.01095) on the noise schedule that the model was trained with."""
    return DPMSolverMultistepScheduler.from_config(training_config)


@torch.inference_mode()
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
    on_batch: Callable[[int], None] = lambda done: None,
) -> list[Image.Image]:
    """One picture for each (prompt embedding, seed). VAE and UNet are on one device; their dtypes may differ.

    prompts_NTD: text embeddings of the N prompts; empty_TD: of the empty prompt, for guidance.
    on_batch: told how many pictures are done.
    """
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=None,
        tokenizer=None,
        unet=unet,
        scheduler=sampling_scheduler(training_schedule),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    pictures: list[Image.Image] = []
    for start in range(0, len(seeds), BATCH):
        rows = [min(start + i, len(seeds) - 1) for i in range(BATCH)]  # the last batch is filled up
        prompt_BTD = prompts_NTD[rows].to(unet.device, unet.dtype)
        latents = pipeline(
            prompt_embeds=prompt_BTD,
            negative_prompt_embeds=empty_TD.to(prompt_BTD).expand_as(prompt_BTD),
            generator=[torch.Generator().manual_seed(seeds[row]) for row in rows],
            height=resolution,
            width=resolution,
            num_inference_steps=inference_steps,
            guidance_scale=guidance_scale,
            output_type="latent",
        ).images
        pixels = vae.decode(latents.to(vae.device, vae.dtype) / vae.config.scaling_factor).sample
        kept = len(seeds) - start
        pictures += pipeline.image_processor.postprocess(pixels.cpu().float(), output_type="pil")[:kept]
        on_batch(len(pictures))
    return pictures
