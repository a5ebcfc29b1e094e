"""The parts of a base model give what the model gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image, ImageChops

from emote.diffusion.samplers import make_scheduler
from emote.inference.image_generator import ImageGenerator
from emote.inference.request import Request
from emote.tools.inspect.parts import Parts, emoji_image
from emote.util.errors import ConfigError


@pytest.fixture(scope="module")
def parts(tiny_sd: Path) -> Parts:
    return Parts(str(tiny_sd), device="cpu")


def test_latents_have_the_shape_of_the_best_image(parts: Parts) -> None:
    assert (parts.side_px, parts.latent_shape) == (32, (4, 8, 8))
    mean_1CHW, logvar_1CHW = parts.encode(Image.new("RGB", (32, 32), "red"))
    assert mean_1CHW.shape == logvar_1CHW.shape == (1, 4, 8, 8)
    assert [image.size for image in parts.decode(mean_1CHW)] == [(32, 32)]


def test_white_is_one_and_black_is_minus_one_to_the_encoder(parts: Parts) -> None:
    white, _ = parts.encode(Image.new("RGB", (32, 32), "white"))
    direct = parts.vae.encode(torch.ones(1, 3, 32, 32)).latent_dist.mean * parts.vae.config["scaling_factor"]
    assert torch.allclose(white, direct, atol=1e-6)


def test_no_row_changes_what_another_decodes_to(parts: Parts) -> None:
    latents = torch.randn(3, *parts.latent_shape, generator=torch.Generator().manual_seed(0))
    together, alone = parts.decode(latents), [parts.decode(row)[0] for row in latents.split(1)]
    assert [image.tobytes() for image in together] == [image.tobytes() for image in alone]


def test_tokens_are_what_the_encoder_reads(parts: Parts) -> None:
    assert parts.tokens("a cat") == ["<|startoftext|>", "a", "c", "a", "t", "<|endoftext|>"]


def test_the_notebooks_loop_draws_what_the_studio_draws(parts: Parts) -> None:
    sampler, steps, guidance = make_scheduler("dpm++", parts.schedule.config), 4, 4.0
    sampler.set_timesteps(steps)
    x_1CHW = torch.randn(1, *parts.latent_shape, generator=torch.Generator().manual_seed(5))
    words = torch.cat([parts.encoder([""]), parts.encoder(["a cat"])])
    for t in sampler.timesteps:
        without, within = parts.predict(torch.cat([x_1CHW, x_1CHW]), t, words).chunk(2)
        x_1CHW = sampler.step(without + guidance * (within - without), t, x_1CHW).prev_sample
    request = Request(prompt="a cat", seed=5, width=32, height=32, inference_steps=steps, guidance_scale=guidance)
    drawn = ImageGenerator(parts.base, device="cpu").draw([request])[0]
    assert ImageChops.difference(parts.decode(x_1CHW)[0], drawn).getbbox() is None


def test_an_emoji_is_found_by_its_name_and_drawn_on_white() -> None:
    image = emoji_image("red heart", "twemoji", 32)
    assert (image.size, image.mode, image.getpixel((0, 31))) == ((32, 32), "RGB", (255, 255, 255))
    red, green, blue = image.getpixel((16, 12))  # type: ignore[misc]
    assert red > 180 and green < 80 and blue < 100


def test_a_name_that_no_emoji_has_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="openmoji has no emoji called 'cat fase'; did you mean cat face"):
        emoji_image("cat fase", "openmoji", 32)
