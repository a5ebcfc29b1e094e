"""A finished run on the tiny Stable Diffusion, as training leaves it, without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from emote.config import ModelConfig
from emote.inference.image_generator import ImageGenerator
from emote.inference.request import Request
from emote.inference.resolve_adapter import Adapter, find_adapter
from emote.lora.adapter import attach
from emote.lora.formats import save_diffusers, save_kohya
from emote.models.presets import find_base, model_named
from tests.models.helpers import fresh_unet, learn, lora_config

NAME = "tiny-0123456789ab"


def write_step(folder: Path, step: int, base: Path, strength: float, **changes: Any) -> Path:
    """Deliverables of one step count. changes: of the configuration's top level."""
    directory = folder / "steps" / f"{step:06d}"
    unet, lora = fresh_unet(base), lora_config(targets="attention_ff")
    attach(unet, lora)
    learn(unet, strength)
    save_diffusers(unet, directory, lora)
    save_kohya(unet, directory / "tiny.safetensors", lora, {})
    model = {"path": str(base), "revision": None, "variant": None, "resolution": 32, "resolution_multiple": 4}
    config = {
        "name": "tiny",
        "model": model,
        "lora": {"rank": 4},
        "data": {"source": "openmoji", "caption": "A {text}, {style}", "resolution": 32, "background": "white"},
        "callbacks": {"samples": {"prompts": ["A cat, openmoji"], "guidance_scale": 4.0}},
    }
    (directory / "config.yaml").write_text(yaml.safe_dump(config | changes))
    (directory / "summary.json").write_text(json.dumps({"max_steps": step}))
    return directory


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_sd: Path) -> Path:
    """A directory with one run of two finished step counts: 10 and 20."""
    directory = tmp_path_factory.mktemp("runs")
    write_step(directory / NAME, 10, tiny_sd, 0.1)
    write_step(directory / NAME, 20, tiny_sd, 0.3)
    return directory


@pytest.fixture(scope="session")
def adapter(runs: Path) -> Adapter:
    return find_adapter(NAME, runs)


@pytest.fixture(scope="session")
def image_generator(tiny_sd: Path) -> ImageGenerator:
    """One for all tests, as in the demo: none may depend on what was drawn before."""
    return ImageGenerator(find_base(model_config(tiny_sd)), device="cpu")


def model_config(path: Path) -> ModelConfig:
    return model_named(str(path))


def request(**changes: Any) -> Request:
    values: dict[str, Any] = {"prompt": "a cat", "seed": 7, "width": 32, "height": 32, "inference_steps": 3}
    return Request(**(values | changes))
