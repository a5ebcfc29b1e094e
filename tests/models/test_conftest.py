"""The fixtures keep what they promise."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from diffusers import StableDiffusionPipeline

from emote.config import Config


def test_a_stock_pipeline_draws_with_the_tiny_model(tiny_sd: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline("a cat", num_inference_steps=2, output_type="np").images.shape == (1, 32, 32, 3)


def test_tests_have_no_network() -> None:
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with pytest.raises(OSError, match="no network"):
        socket.getaddrinfo("huggingface.co", 443)


def test_configurations_compose(make_config: Callable[..., Config]) -> None:
    config = make_config("experiment=quickstart", **{"lora.rank": 3, "lora.targets": "all"})
    assert (config.lora.rank, config.lora.alpha, config.lora.targets) == (3, 3.0, "all")
