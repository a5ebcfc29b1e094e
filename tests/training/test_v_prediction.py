"""Bases that predict velocity, with a schedule that ends in noise alone, as Stable Diffusion 2.1 and its heirs have."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

from emote.config import ModelConfig
from emote.diffusion.samplers import SAMPLERS
from emote.inference.image_generator import ImageGenerator
from emote.inference.request import Request
from emote.inference.resolve_adapter import find_adapter
from emote.lora.formats import DIFFUSERS_FILE
from emote.models import components
from emote.training.run import run


@pytest.fixture(scope="module")
def base(tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(shutil.copytree(tiny_sd, tmp_path_factory.mktemp("velocity") / "model"))
    file = path / "scheduler" / "scheduler_config.json"
    changes = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return path


def request(**changes: Any) -> Request:
    return Request(**{"prompt": "a cat", "seed": 7, "width": 32, "height": 32, "inference_steps": 4} | changes)


def test_the_last_step_of_the_schedule_is_noise_alone_and_learns_velocity(base: Path) -> None:
    schedule = components.load_scheduler(base)
    assert float(schedule.alphas_cumprod[-1]) == 0
    assert schedule.config["prediction_type"] == "v_prediction"


@pytest.mark.parametrize("snr_gamma", [None, 5.0])
def test_it_is_trained_and_drawn_as_the_stock_pipeline_draws(
    base: Path, tiny_config: Callable[..., Any], snr_gamma: float | None
) -> None:
    values = {"model.path": base, "trainer.snr_gamma": snr_gamma, "trainer.max_steps": 20}
    path = run(tiny_config(**values), ["experiment=smoke"])
    told = json.loads((path / "summary.json").read_text())
    assert 0 < told["train_loss"]["last_500_mean"] < 10
    assert told["validation_loss"]["final"] < told["validation_loss"]["base"]
    image_generator = ImageGenerator(ModelConfig(str(base), None, None, 32, 4, None), device="cpu")
    image_generator.use(find_adapter(str(path)))
    (image,) = image_generator.draw([request()])
    pipeline = StableDiffusionPipeline.from_pretrained(base, safety_checker=None)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.load_lora_weights(str(path), weight_name=DIFFUSERS_FILE)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        "a cat", generator=torch.Generator().manual_seed(7), height=32, width=32, num_inference_steps=4,
        guidance_scale=request().guidance_scale,
    ).images[0]  # fmt: skip
    assert np.abs(np.asarray(image).astype(int) - np.asarray(theirs)).max() <= 1


@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_every_sampler_draws_numbers(base: Path, scheduler: str) -> None:
    image_generator = ImageGenerator(ModelConfig(str(base), None, None, 32, 4, None), device="cpu")
    (drawn,) = image_generator.draw_each([request(scheduler=scheduler)])
    assert not drawn.problem
