from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from emote.config import Precision
from emote.diffusion.samplers import SAMPLERS
from emote.inference.png_metadata import Parameters, read_parameters, save_png, text_of, write_parameters
from emote.util.errors import ConfigError
from tests.inference.conftest import request

# written by A1111 1.9, with the settings that it adds
A1111 = """a red fox, (watercolour:1.2), "fine", key: value <lora:emoji-style:0.75>
Negative prompt: blurry, text:
Steps: 30, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 965400086, Size: 512x768, \
Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, Denoising strength: 0.4, \
Lora hashes: "emoji-style: e86f8548d1ee", TI: "a: b, c: d", Version: v1.9.4"""


def test_the_text_is_what_a1111_writes() -> None:
    wanted = request(
        prompt="a cat", negative_prompt="text", scheduler="euler_a", guidance_scale=7.0, lora_scale=0.5, width=64
    )
    text = write_parameters(Parameters(wanted, "sd/model", "c9ffb06c1b", "tiny", "e86f8548d1ee", "tiny-01/20", 4, 2))
    assert text.splitlines()[:2] == ["a cat <lora:tiny:0.5>", "Negative prompt: text"]
    assert text.splitlines()[2].rpartition(", Version: ")[0] == (
        "Steps: 3, Sampler: Euler a, Schedule type: Uniform, CFG scale: 7, Seed: 7, Size: 64x32, "
        "Model hash: c9ffb06c1b, Model: sd/model, Batch size: 4, Batch pos: 2, RNG: CPU, "
        'Lora hashes: "tiny: e86f8548d1ee", Run: tiny-01/20'
    )


def test_what_a1111_wrote_is_read() -> None:
    read = read_parameters(A1111)
    assert read.request == request(
        prompt='a red fox, (watercolour:1.2), "fine", key: value',
        negative_prompt="blurry, text:",
        inference_steps=30,
        scheduler="dpm++_karras",
        guidance_scale=6.5,
        seed=965400086,
        width=512,
        height=768,
        lora_scale=0.75,
    )
    assert (read.model, read.model_hash) == ("v1-5-pruned-emaonly", "6ce0161689")
    assert (read.lora, read.lora_hash, read.run, read.batch_size) == ("emoji-style", "e86f8548d1ee", "", 1)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_scheduler_comes_back(name: str) -> None:
    assert (
        read_parameters(write_parameters(Parameters(request(scheduler=name, lora_scale=0)))).request.scheduler == name
    )


@pytest.mark.parametrize(
    "prompt",
    [
        "a cat",
        "قطة حمراء",
        "🧑🏽‍🚀 flies",
        "a: b, c: d, e: f",
        'say "hi"',
        "x" * 10_000,
        "<b>bold</b>",
        "{text}",
        "Steps: 3",
    ],
)
@pytest.mark.parametrize("negative", ["", "b: c, d: e, f: g"])
def test_a_image_says_what_it_was_drawn_from(tmp_path: Path, prompt: str, negative: str) -> None:
    wanted = request(
        prompt=prompt, negative_prompt=negative, guidance_scale=1 / 3, seed=2**63 - 1, lora_scale=-0.1, height=96
    )
    parameters = Parameters(wanted, "model", "0123456789", "tiny", "abc", "tiny-01/20", 4, 3, Precision.fp16)
    save_png(Image.new("RGB", (8, 8)), tmp_path / "image.png", write_parameters(parameters))
    assert read_parameters(tmp_path / "image.png") == parameters


def test_the_base_model_s_images_name_no_adapter() -> None:
    text = write_parameters(Parameters(request(lora_scale=0), lora="tiny", lora_hash="abc", run="tiny-01/20"))
    assert "tiny" not in text
    assert read_parameters(text).request.lora_scale == 0


def test_what_a_image_carries_is_written_with_it(tmp_path: Path) -> None:
    image = Image.new("RGBA", (8, 8))
    image.info["parameters"] = "words"
    save_png(image, tmp_path / "new" / "image.png")
    assert text_of(tmp_path / "new" / "image.png") == "words"
    assert Image.open(tmp_path / "new" / "image.png").mode == "RGBA"


def test_images_that_say_nothing_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "silent.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "silent.png").read_bytes()[:30])
    for name, words in {
        "silent": "does not say how it was drawn",
        "broken": "not a readable image",
        "absent": "no file",
    }.items():
        with pytest.raises(ConfigError, match=words):
            read_parameters(tmp_path / f"{name}.png")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a cat", "with which settings"),
        ("", "with which settings"),
        ("a cat\nSteps: 3, Sampler: Euler, CFG scale: 7, Size: 32x32", "Seed"),
        ("a cat\nSteps: many, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 32x32", "cannot be read"),
        ("a cat\nSteps: 3, Sampler: Restart, CFG scale: 7, Seed: 1, Size: 32x32", "scheduler must be one of"),
        ("a cat\nSteps: 3, Sampler: Euler, CFG scale: 7, Seed: -1, Size: 32x32", "seed must be from 0"),
        ("a cat <lora:a:1> <lora:b:1>\nSteps: 3, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 32x32", "2 adapters"),
    ],
)
def test_half_a_text_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_parameters(text)
