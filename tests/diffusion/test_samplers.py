from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import PNDMScheduler, StableDiffusionPipeline

from emote.diffusion.generate import draw_batch, to_images
from emote.diffusion.samplers import SAMPLERS, from_a1111, make_scheduler, scheduler_named
from emote.models.components import (
    encode_prompts,
    load_scheduler,
    load_text_encoder,
    load_tokenizer,
    load_unet,
    load_vae,
)
from emote.util.errors import ConfigError

PROMPTS, SEEDS = ["a cat", "a dog", "a fox", "an owl"], [1, 2, 3, 4]


@pytest.fixture(scope="module")
def stock(tiny_sd: Path) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_stock_pipeline_draws_the_same_image(name: str, stock: StableDiffusionPipeline, tiny_sd: Path) -> None:
    tokenizer, text_encoder = load_tokenizer(tiny_sd), load_text_encoder(tiny_sd)
    words = encode_prompts(tokenizer, text_encoder, [*PROMPTS, *[""] * 4])
    own = draw_batch(
        load_unet(tiny_sd), load_vae(tiny_sd), load_scheduler(tiny_sd).config, words[:4], words[4:], SEEDS,
        width=32, height=24, inference_steps=5, guidance_scale=7.5, scheduler=name,
    )  # fmt: skip
    shipped = dict(PNDMScheduler.from_pretrained(tiny_sd, subfolder="scheduler").config)
    shipped["clip_sample"] = False  # as SD 1.5's own file has it
    stock.scheduler = type(make_scheduler(name, shipped)).from_config(shipped, **SAMPLERS[name].options)
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    eta = 0.3 if name == "tcd" else 0.0  # the pipeline's own is 0, and TCD's is not
    theirs = stock(PROMPTS, generator=generators, width=32, height=24, num_inference_steps=5, eta=eta).images
    assert [image.tobytes() for image in to_images(own)] == [image.tobytes() for image in theirs]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_has_the_noise_schedule_of_training(name: str, tiny_sd: Path) -> None:
    training = load_scheduler(tiny_sd)
    sampler = make_scheduler(name, training.config)
    assert torch.equal(sampler.alphas_cumprod, training.alphas_cumprod)
    assert sampler.config.prediction_type == training.config.prediction_type


@pytest.mark.parametrize("name", SAMPLERS)
def test_a1111_s_names_lead_there_and_back(name: str) -> None:
    entry = SAMPLERS[name]
    assert from_a1111(entry.sampler, entry.schedule) == name
    assert scheduler_named(name.replace("_", " ").upper()) == name


@pytest.mark.parametrize(
    ("sampler", "schedule", "name"),
    [
        ("DPM++ 2M Karras", None, "dpm++_karras"),  # as written until A1111 1.8
        ("DPM++ 2M", None, "dpm++"),
        ("DPM++ 2M", "Automatic", "dpm++_karras"),
        ("Euler a", "Automatic", "euler_a"),
        ("DDIM", "Automatic", "ddim"),
    ],
)
def test_what_a1111_wrote_is_understood(sampler: str, schedule: str | None, name: str) -> None:
    assert from_a1111(sampler, schedule) == name


def test_an_unknown_one_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"scheduler must be one of .* got eulr; did you mean euler\?"):
        scheduler_named("eulr")
    for sampler, schedule in (("Restart", None), ("Euler", "Polyexponential"), ("", None)):
        with pytest.raises(ConfigError, match="scheduler must be one of"):
            from_a1111(sampler, schedule)
