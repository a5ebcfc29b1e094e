"""Adapter files in a release of diffusers that is older than this project itself works with.

`make test-floors` names its Python in OLDER_DIFFUSERS.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from emote.lora.adapter import attach
from emote.lora.formats import save_diffusers, save_kohya
from tests.models.helpers import PRESETS, answer, fresh_unet, learn, lora_config

PYTHON = os.environ.get("OLDER_DIFFUSERS")


@pytest.mark.skipif(not PYTHON, reason="OLDER_DIFFUSERS names no Python")
def test_stock_diffusers_draws_as_the_trained_unets_did(tiny_sd: Path, tmp_path: Path) -> None:
    expected: dict[Path, torch.Tensor] = {}
    for preset in PRESETS:
        changes: dict[str, Any] = {"targets": preset, "alpha": 2.0}
        unet = fresh_unet(tiny_sd)
        attach(unet, lora_config(**changes))
        learn(unet)
        expected[save_diffusers(unet, tmp_path / preset, lora_config(**changes))] = answer(unet)
        expected[save_kohya(unet, tmp_path / f"{preset}.safetensors", lora_config(**changes), {})] = answer(unet)
    script, output = Path(__file__).with_name("draw_with_stock_diffusers.py"), tmp_path / "predictions.safetensors"
    command = [str(PYTHON), str(script), str(tiny_sd), str(output), *map(str, expected)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    predictions = load_file(output)
    for file, prediction in expected.items():
        assert torch.allclose(predictions[str(file)], prediction, rtol=1e-5, atol=1e-6), file
