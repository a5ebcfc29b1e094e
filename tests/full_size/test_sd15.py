"""Stable Diffusion 1.5 in full size with random weights: trained, loaded and drawn with, each in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.conftest import ROOT
from tests.full_size.sd15 import attention_modules, save_random
from tests.models.single_files import write_single_file

pytestmark = pytest.mark.slow
GB = 10**9


@pytest.fixture(scope="module")
def room() -> Iterator[Path]:
    """A directory that is gone afterwards: 4.3 GB of weights, and 2.1 GB of them once more in one file."""
    with tempfile.TemporaryDirectory(prefix="emote-full-size-") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def model(room: Path) -> Path:
    return save_random(room / "sd15")


@pytest.fixture(scope="module")
def single_file(room: Path, model: Path) -> Path:
    """As CivitAI has them: pruned, in fp16."""
    return write_single_file(model, room / "sd15.safetensors", torch.float16)


def python(*arguments: str | Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def described(*arguments: str | Path) -> dict[str, Any]:
    return json.loads(python("-m", *arguments).splitlines()[-1])


def test_two_steps_in_float32_learn_within_the_memory_that_was_estimated(model: Path) -> None:
    told = described("tests.full_size.run_steps", model)
    assert all(0 < loss < 100 for loss in told["losses"])
    # B is zero at the start, so that A moves from the second step on; both have moved after two
    assert (told["moved"], told["tensors"], told["frozen_with_gradient"]) == (256, 256, 0)
    assert told["dtypes"] == ["torch.float32"]
    assert 0.8 < told["estimated_bytes"] / told["used_bytes"] < 1.25, told


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of memory")
@pytest.mark.parametrize("kind", ["model", "single_file"])
def test_the_unet_is_read_into_half_precision_without_a_float32_copy(kind: str, request: pytest.FixtureRequest) -> None:
    told = described("tests.full_size.load_half", request.getfixturevalue(kind))
    assert told["dtypes"] == ["torch.float16"]
    assert 1.7 * GB < told["weights_bytes"] < 1.75 * GB
    assert told["peak_bytes"] < 1.2 * told["weights_bytes"], told  # float32 would be twice as much


@pytest.fixture(scope="module")
def images(room: Path) -> Path:
    from PIL import Image

    (room / "images").mkdir()
    for i, colour in enumerate(("red", "green", "blue", "white")):
        Image.new("RGB", (64, 64), colour).save(room / "images" / f"{i}.png")
        (room / "images" / f"{i}.txt").write_text(colour)
    return room / "images"


@pytest.mark.parametrize("kind", ["model", "single_file"])
def test_three_steps_from_a_directory_and_from_one_file_stay_within_12_gb(
    kind: str, room: Path, images: Path, request: pytest.FixtureRequest
) -> None:
    output = python(
        "train.py", f"model.path={request.getfixturevalue(kind)}", "data=folder", f"data.path={images}",
        "data.resolution=64", "data.held_out=0", "hardware=cpu", "logger=csv", "trainer.max_steps=3",
        "trainer.batch_size=1", "callbacks.samples.prompts=[]", "run.max_hours=100", f"run.dir={room / 'runs'}",
        f"run.cache_dir={room / 'cache'}", f"name={kind}",
    )  # fmt: skip
    summary = json.loads((Path(output.splitlines()[-1]) / "summary.json").read_text())
    assert summary["steps_run"] == 3 and summary["adapter"]["modules"] == 128
    measured, expected = summary["peak_memory_bytes"]["host"], summary["estimate"]["peak_memory_bytes"]["host"]
    assert measured < 12 * GB
    assert 0.7 < expected / measured < 1.4, (expected, measured)


def test_a_published_adapter_loads_draws_and_becomes_a_kohya_file(model: Path, tmp_path: Path) -> None:
    from emote.diffusion.generate import generate
    from emote.lora.formats import save_kohya
    from emote.lora.loading import load_for_sampling
    from emote.models import components
    from tests.models.helpers import lora_config

    generator = torch.Generator().manual_seed(0)
    published = {}
    for name, (inputs, outputs) in attention_modules().items():
        published[f"unet.{name}.lora_A.weight"] = torch.randn(4, inputs, generator=generator).bfloat16() / 4
        published[f"unet.{name}.lora_B.weight"] = torch.randn(outputs, 4, generator=generator).bfloat16() / 100
    save_file(published, tmp_path / "pytorch_lora_weights.safetensors")
    unet = components.load_unet(model, torch.bfloat16)
    load_for_sampling(unet, tmp_path)
    vae = components.load_vae(model, torch.bfloat16)
    text = torch.randn(2, 77, 768, generator=generator)
    schedule = components.load_scheduler(model).config
    images = generate(unet, vae, schedule, text[:1], text[1], [0], resolution=64, inference_steps=2,
                        guidance_scale=1.0)  # fmt: skip
    assert images[0].size == (64, 64)
    file = save_kohya(unet, tmp_path / "kohya.safetensors", lora_config(rank=4, alpha=4.0), {})
    with safe_open(file, framework="pt") as tensors:
        names = list(tensors.keys())
        assert len(names) == 128 * 3
        for name in list(attention_modules())[:3]:
            down = tensors.get_tensor(f"lora_unet_{name.replace('.', '_')}.lora_down.weight")
            assert torch.equal(down.float(), published[f"unet.{name}.lora_A.weight"].float())
