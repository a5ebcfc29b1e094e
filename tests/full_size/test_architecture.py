"""What Stable Diffusion 1.5 is adapted in, by its shapes alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emote.lora.adapter import trainable
from emote.lora.formats import save_diffusers, save_kohya
from emote.models.single_file import PUBLISHED
from tests.full_size.sd15 import CLIP, SCHEDULE, UNET, VAE, attention_modules, shapes, with_adapter
from tests.models.helpers import lora_config

RANK = 8


@pytest.fixture(scope="module")
def adapted() -> Any:
    return with_adapter(UNET, RANK)


def test_128_modules_are_adapted_and_159_million_parameters_learn(adapted: Any) -> None:
    expected = attention_modules()
    assert len(expected) == 128
    assert {name.split(".lora_")[0] for name in trainable(adapted)} == set(expected)
    parameters = sum(parameter.numel() for parameter in trainable(adapted).values())
    assert parameters == sum(RANK * (inputs + outputs) for inputs, outputs in expected.values()) == 1_594_368


def test_diffusers_file_has_the_names_and_shapes_that_follow_from_the_architecture(
    adapted: Any, tmp_path: Path
) -> None:
    expected = {}
    for name, (inputs, outputs) in attention_modules().items():
        expected[f"unet.{name}.lora_A.weight"] = [RANK, inputs]
        expected[f"unet.{name}.lora_B.weight"] = [outputs, RANK]
    assert shapes(save_diffusers(adapted, tmp_path, lora_config(rank=RANK, alpha=8.0))) == expected


def test_kohyas_file_has_the_names_and_shapes_that_follow_from_the_architecture(adapted: Any, tmp_path: Path) -> None:
    expected: dict[str, list[int]] = {}
    for name, (inputs, outputs) in attention_modules().items():
        prefix = "lora_unet_" + name.replace(".", "_")
        expected[f"{prefix}.lora_down.weight"] = [RANK, inputs]
        expected[f"{prefix}.lora_up.weight"] = [outputs, RANK]
        expected[f"{prefix}.alpha"] = []
    file = save_kohya(adapted, tmp_path / "kohya.safetensors", lora_config(rank=RANK, alpha=8.0), {})
    assert shapes(file) == expected and len(expected) == 128 * 3


@pytest.mark.parametrize(
    ("file", "known"),
    [
        ("unet/config.json", UNET), ("vae/config.json", VAE), ("text_encoder/config.json", CLIP),
        ("scheduler/scheduler_config.json", SCHEDULE),
    ],
)  # fmt: skip
def test_what_single_files_are_read_by_is_that_configuration(file: str, known: dict[str, Any]) -> None:
    said = json.loads((PUBLISHED / "sd15" / file).read_text())
    assert {name: said[name] for name in known} == json.loads(json.dumps(known))
