"""Stable Diffusion XL in full size: what is adapted, what the files call it, and two steps with random weights."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from emote.lora.adapter import trainable
from emote.lora.formats import save_diffusers, save_kohya
from tests.full_size.sd15 import shapes, with_adapter
from tests.full_size.sdxl import UNET, attention_modules, save_random_unet
from tests.full_size.test_sd15 import described
from tests.models.helpers import lora_config

RANK = 8


@pytest.fixture(scope="module")
def adapted() -> Any:
    return with_adapter(UNET, RANK)


def test_560_modules_are_adapted(adapted: Any) -> None:
    expected = attention_modules()
    assert len(expected) == 560  # 70 transformer blocks of 8 projections
    assert {name.split(".lora_")[0] for name in trainable(adapted)} == set(expected)
    parameters = sum(parameter.numel() for parameter in trainable(adapted).values())
    assert parameters == sum(RANK * (inputs + outputs) for _, inputs, outputs in expected.values())


def test_both_files_have_the_names_and_shapes_that_follow_from_the_architecture(adapted: Any, tmp_path: Path) -> None:
    diffusers: dict[str, list[int]] = {}
    kohya: dict[str, list[int]] = {}
    for name, (original, inputs, outputs) in attention_modules().items():
        diffusers |= {f"unet.{name}.lora_A.weight": [RANK, inputs], f"unet.{name}.lora_B.weight": [outputs, RANK]}
        prefix = "lora_unet_" + original.replace(".", "_")
        kohya |= {f"{prefix}.lora_down.weight": [RANK, inputs], f"{prefix}.lora_up.weight": [outputs, RANK]}
        kohya[f"{prefix}.alpha"] = []
    lora = lora_config(rank=RANK, alpha=8.0)
    assert shapes(save_diffusers(adapted, tmp_path, lora)) == diffusers
    file = save_kohya(adapted, tmp_path / "kohya.safetensors", lora, {})
    assert shapes(file) == kohya
    with safe_open(file, framework="pt") as tensors:
        assert tensors.metadata()["ss_base_model_version"] == "sdxl_base_v1-0"


@pytest.fixture(scope="module")
def model() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="emote-full-size-") as directory:
        yield save_random_unet(Path(directory))


@pytest.mark.slow
def test_two_steps_in_float32_learn_within_the_memory_that_was_estimated(model: Path) -> None:
    told = described("tests.full_size.run_steps", model)
    assert all(0 < loss < 100 for loss in told["losses"])
    assert (told["moved"], told["tensors"], told["frozen_with_gradient"]) == (1120, 1120, 0)
    assert told["dtypes"] == ["torch.float32"]
    assert 0.8 < told["estimated_bytes"] / told["used_bytes"] < 1.25, told
