"""Stable Diffusion XL goes the same way as its predecessors: cached, trained, drawn, delivered, loaded by others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionXLPipeline
from PIL import Image
from safetensors.torch import load_file

from emote.config import ModelConfig
from emote.inference.image_generator import ImageGenerator
from emote.inference.request import Request
from emote.inference.resolve_adapter import find_adapter
from emote.lora.loading import load_for_sampling
from emote.models import components
from emote.models.conditioning import predict
from emote.training.run import run
from tests.models.helpers import PRESETS

FILES = ("pytorch_lora_weights.safetensors", "smoke.safetensors")


@pytest.fixture
def delivered(tiny_config: Callable[..., Any], tiny_sdxl: Path) -> Callable[..., Path]:
    def go(**values: Any) -> Path:
        return run(tiny_config(**{"model.path": tiny_sdxl, "trainer.learning_rate": 0.01} | values), ["model=sdxl"])

    return go


def answers(unet: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    noisy, told = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 33, 40, generator=generator)
    with torch.no_grad():
        return predict(unet, noisy, torch.tensor([1, 700]), told, (32, 32))


@pytest.mark.parametrize("targets", PRESETS)
def test_both_files_reload_exactly_into_a_stock_pipeline(
    delivered: Callable[..., Path], tiny_sdxl: Path, targets: str
) -> None:
    path = delivered(**{"lora.targets": targets})
    assert all(name in {p.name for p in path.iterdir()} for name in FILES)
    ours = components.load_unet(tiny_sdxl)
    plain = answers(ours)
    load_for_sampling(ours, path / FILES[0])
    assert not torch.allclose(answers(ours), plain, atol=1e-3)
    for name in FILES:
        pipeline = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl)
        pipeline.load_lora_weights(str(path), weight_name=name)
        assert torch.allclose(answers(pipeline.unet), answers(ours), atol=1e-6)


def test_going_on_gives_what_one_run_gives(delivered: Callable[..., Path], tmp_path: Path) -> None:
    delivered(**{"trainer.max_steps": 2})
    resumed = delivered()
    straight = delivered(**{"run.dir": tmp_path / "elsewhere"})
    first, second = (load_file(path / FILES[0]) for path in (resumed, straight))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert json.loads((resumed / "summary.json").read_text())["resumed_from_step"] == 2


def test_images_are_those_of_the_stock_pipeline(
    delivered: Callable[..., Path], tiny_sdxl: Path, tmp_path: Path
) -> None:
    path = delivered()
    image_generator = ImageGenerator(ModelConfig(str(tiny_sdxl), None, None, 32, 4, None), device="cpu")
    adapter = find_adapter(str(path))
    image_generator.use(adapter)
    request = Request(prompt="a cat", seed=7, width=32, height=32, inference_steps=3, guidance_scale=5.0)
    (image,) = image_generator.draw([request])
    pipeline = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl, add_watermarker=False)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.load_lora_weights(str(path), weight_name=FILES[0])
    pipeline.set_progress_bar_config(disable=True)
    theirs: Image.Image = pipeline(
        "a cat", generator=torch.Generator().manual_seed(7), height=32, width=32, num_inference_steps=3,
        guidance_scale=5.0,
    ).images[0]  # fmt: skip
    assert np.abs(np.asarray(image).astype(int) - np.asarray(theirs)).max() <= 1
