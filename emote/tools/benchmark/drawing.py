"""Seconds to draw with a stock pipeline."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline


def time_drawing(base: Path, device: torch.device, pictures: int, steps: int = 25, guidance: float = 6.0) -> float:
    """Seconds for so many pictures at once, from noise to pixels, after a short drawing that is not counted."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        base, safety_checker=None, feature_extractor=None, requires_safety_checker=False, local_files_only=True
    ).to(device, torch.float32)  # a text encoder may be stored in half precision
    pipeline.set_progress_bar_config(disable=True)
    prompts = ["An emoji of grinning face"] * pictures

    def draw(steps: int) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        pipeline(prompts, num_inference_steps=steps, guidance_scale=guidance, output_type="np")  # brought to the host
        return time.perf_counter() - began

    draw(2)
    return draw(steps)
