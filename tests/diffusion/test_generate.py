from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from PIL import Image

from emote.diffusion.generate import BATCH, generate
from emote.models.components import (
    encode_prompts,
    load_scheduler,
    load_text_encoder,
    load_tokenizer,
    load_unet,
    load_vae,
)

PROMPTS = ["a cat", "a dog", "a fox", "an owl", "a red heart", "a robot"]
SEEDS = [11, 12, 13, 14, 15, 16]


@dataclass
class Tiny:
    """The parts of a tiny Stable Diffusion; `draw(rows)` draws the prompts and seeds of these rows."""

    unet: Any
    vae: Any
    schedule: Any
    prompts_NTD: torch.Tensor
    empty_TD: torch.Tensor

    def draw(self, rows: list[int], **changes: Any) -> list[Image.Image]:
        values: dict[str, Any] = {"resolution": 32, "inference_steps": 3, "guidance_scale": 5.0} | changes
        seeds = [SEEDS[row] for row in rows]
        return generate(
            self.unet, self.vae, self.schedule, self.prompts_NTD[rows], self.empty_TD, seeds, **values
        )  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tiny_sd: Path) -> Tiny:
    tokenizer, text_encoder = load_tokenizer(tiny_sd), load_text_encoder(tiny_sd)
    embeddings = encode_prompts(tokenizer, text_encoder, [*PROMPTS, ""])
    return Tiny(load_unet(tiny_sd), load_vae(tiny_sd), load_scheduler(tiny_sd).config, embeddings[:-1], embeddings[-1])


def same(first: Image.Image, second: Image.Image) -> bool:
    return bool(np.array_equal(np.asarray(first), np.asarray(second)))


def test_there_is_one_image_a_seed_of_the_asked_size(tiny: Tiny) -> None:
    for count in (1, BATCH, BATCH + 1):
        images = tiny.draw(list(range(count)))
        assert [(p.size, p.mode) for p in images] == [((32, 32), "RGB")] * count
    assert tiny.draw([]) == []


def test_a_image_is_the_same_whatever_else_is_drawn_and_in_which_order(tiny: Tiny) -> None:
    forwards, backwards = tiny.draw([0, 1, 2, 3, 4, 5]), tiny.draw([5, 4, 3, 2, 1, 0])
    assert all(same(a, b) for a, b in zip(forwards, reversed(backwards), strict=True))
    (alone,) = tiny.draw([4])
    assert same(alone, forwards[4])
    torch.manual_seed(123)
    assert same(tiny.draw([2, 0])[0], forwards[2])


def test_the_unet_always_sees_full_batches_because_bits_depend_on_their_size(tiny: Tiny) -> None:
    sizes: list[int] = []
    hook = tiny.unet.register_forward_pre_hook(lambda module, arguments: sizes.append(len(arguments[0])))
    tiny.draw(list(range(BATCH + 1)), guidance_scale=1.0)
    hook.remove()
    assert set(sizes) == {BATCH} and len(sizes) == 2 * 3  # two batches of three steps


def test_seeds_and_prompts_make_different_images(tiny: Tiny) -> None:
    images = tiny.draw([0, 1, 2])
    assert len({image.tobytes() for image in images}) == 3
    other = generate(
        tiny.unet, tiny.vae, tiny.schedule, tiny.prompts_NTD[[3]], tiny.empty_TD, SEEDS[:1],
        resolution=32, inference_steps=3, guidance_scale=5.0,
    )  # fmt: skip
    assert not same(other[0], images[0])


def test_the_stock_pipeline_draws_the_same_image_from_the_words(tiny: Tiny, tiny_sd: Path) -> None:
    stock = StableDiffusionPipeline.from_pretrained(tiny_sd, safety_checker=None)
    stock.scheduler = DPMSolverMultistepScheduler.from_config(stock.scheduler.config)
    stock.set_progress_bar_config(disable=True)
    expected = stock(
        PROMPTS[:BATCH],
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS[:BATCH]],
        height=32,
        width=32,
        num_inference_steps=3,
        guidance_scale=5.0,
    ).images
    assert all(same(a, b) for a, b in zip(tiny.draw(list(range(BATCH))), expected, strict=True))


def test_without_guidance_the_empty_prompt_plays_no_part(tiny: Tiny) -> None:
    (plain,) = tiny.draw([0], guidance_scale=1.0)
    tiny_elsewhere = Tiny(tiny.unet, tiny.vae, tiny.schedule, tiny.prompts_NTD, torch.ones_like(tiny.empty_TD) * 9)
    assert same(tiny_elsewhere.draw([0], guidance_scale=1.0)[0], plain)
    assert not same(tiny_elsewhere.draw([0])[0], tiny.draw([0])[0])
    assert not same(tiny.draw([0])[0], plain)


def test_after_each_batch_one_is_told_how_many_images_are_done(tiny: Tiny) -> None:
    told: list[int] = []
    tiny.draw(list(range(6)), on_batch=told.append)
    assert told == [4, 6]


def test_drawing_leaves_no_gradients_and_changes_no_weights(tiny: Tiny) -> None:
    before = {name: value.clone() for name, value in tiny.unet.state_dict().items()}
    tiny.draw([0])
    assert all(torch.equal(value, before[name]) for name, value in tiny.unet.state_dict().items())
    assert not tiny.unet.training and torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in tiny.unet.parameters())
