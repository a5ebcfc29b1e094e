"""A run on the tiny Stable Diffusion that takes about a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emote.config import Config
from emote.training.run import run

Runner = Callable[..., Path]


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tiny_config(
    make_config: Callable[..., Config], tiny_sd: Path, tmp_path: Path, shared_cache: Path
) -> Callable[..., Config]:
    """The smoke experiment on the tiny model: 24 pictures, 6 steps of 4, checkpoints every 2."""

    def make(**values: Any) -> Config:
        defaults: dict[str, Any] = {
            "model.path": tiny_sd,
            "model.resolution": 32,
            "data.max_items": 24,
            "trainer.max_steps": 6,
            "trainer.accelerator": "cpu",
            "callbacks.checkpoint.every_steps": 2,
            "callbacks.validation.every_steps": 3,
            "callbacks.samples.inference_steps": 2,
            "run.dir": tmp_path / "runs",
            "run.cache_dir": shared_cache,
        }
        return make_config("experiment=smoke", **(defaults | values))

    return make


@pytest.fixture
def tiny_run(tiny_config: Callable[..., Config]) -> Runner:
    def go(**values: Any) -> Path:
        return run(tiny_config(**values), ["experiment=smoke"])

    return go
