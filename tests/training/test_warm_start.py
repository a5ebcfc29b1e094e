"""Runs that start from an adapter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from emote.util.errors import ConfigError

DIFFUSERS = "pytorch_lora_weights.safetensors"


def test_a_run_starts_where_the_adapter_stands_and_is_known_by_its_content(tiny_run: Any, tmp_path: Path) -> None:
    first = tiny_run(**{"trainer.max_steps": 2})
    barely = {"trainer.max_steps": 1, "trainer.learning_rate": 1e-12}
    started = tiny_run(**barely, **{"lora.init_from": first})
    learned, now = load_file(first / DIFFUSERS), load_file(started / DIFFUSERS)
    assert all(torch.allclose(now[name], learned[name], atol=1e-6) for name in learned)
    copied = shutil.copy(first / "smoke.safetensors", tmp_path / "copied.safetensors")
    other_file = tiny_run(**barely, **{"lora.init_from": copied})
    random = tiny_run(**barely)
    summaries = [json.loads((path / "summary.json").read_text()) for path in (started, other_file, random)]
    assert len({summary["identity"] for summary in summaries}) == 3
    moved = shutil.move(copied, tmp_path / "moved.safetensors")
    assert tiny_run(**barely, **{"lora.init_from": moved}) == other_file


def test_an_adapter_that_does_not_fit_ends_the_run_before_anything_is_encoded(tiny_run: Any, tmp_path: Path) -> None:
    first = tiny_run(**{"trainer.max_steps": 1})
    with pytest.raises(ConfigError, match=r"has rank 4, lora\.rank is 2; set lora\.rank=4"):
        tiny_run(**{"lora.rank": 2, "lora.init_from": first, "run.cache_dir": tmp_path / "cache"})
    assert not (tmp_path / "cache" / "latents").exists()
