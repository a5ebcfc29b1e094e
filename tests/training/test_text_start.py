"""A run that starts from an adapter of the text encoder too: captions are encoded with it, and it is delivered."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from emote.lora.adapter_file import read_adapter
from emote.models.components import load_text_encoder, load_unet
from emote.training.identify import identify
from emote.training.job import read_encoded
from emote.training.preflight.estimate import estimate
from emote.util.errors import ConfigError
from tests.lora.adapter_files import kohya_with_text
from tests.lora.tools import ALPHA, RANK, kohya, matrices, relative, wanted


@pytest.fixture
def start(tiny_sd: Path, tmp_path: Path) -> tuple[Path, Any]:
    of = matrices({"unet": load_unet(tiny_sd), "text_encoder": load_text_encoder(tiny_sd)})
    return kohya(of, tmp_path), of


def base_losses(path: Path) -> list[str]:
    with open(path / "validation.csv", encoding="utf-8") as file:
        return [row["base_loss"] for row in csv.DictReader(file)]


def test_its_captions_are_of_the_adapted_encoder_and_both_files_hold_it(
    tiny_run: Callable[..., Path], tiny_config: Any, tiny_sd: Path, start: tuple[Path, Any]
) -> None:
    file, of = start
    changes = {"lora.rank": RANK, "lora.alpha": ALPHA, "lora.targets": "attention", "trainer.max_steps": 2,
               "callbacks.samples.lora_scale": 0.5}  # fmt: skip
    path = tiny_run(**changes, **{"lora.init_from": file})
    given = read_adapter(file).layers
    for delivered in (path / "pytorch_lora_weights.safetensors", path / "smoke.safetensors"):
        layers = read_adapter(delivered).layers
        assert layers.keys() == given.keys()
        for name in given:
            same = torch.equal(layers[name].up, given[name].up)
            assert same == name.startswith("text_encoder.")  # the UNet's have learned
    assert base_losses(path) == base_losses(tiny_run(**changes))  # of the base model, with its own text encoder

    config = tiny_config(**changes, **{"lora.init_from": file})
    this = identify(config)
    prepared = read_encoded(config, this.weights, this.found)
    prompt = config.callbacks.samples.prompts[0]
    assert prepared.base_text and prepared.drawn_text
    for text, scale in ((prepared.text, 1.0), (prepared.drawn_text, 0.5), (prepared.base_text, 0.0)):
        assert relative(text.get(prompt), wanted(tiny_sd, of, scale, [prompt])[1][0]) < 3e-6
    left = estimate(config, this.base, this.weights, this.decision, this.found, 0)
    assert left.missing_bytes == 0


def test_what_cannot_be_started_from_is_said_before_anything_is_loaded(
    tiny_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emote.models.components.load_unet", lambda *_, **__: pytest.fail("loaded"))
    folder = tmp_path / "peft"
    folder.mkdir()
    kohya_with_text(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "bias": "all"}')
    with pytest.raises(ConfigError, match=r"lora\.init_from: .* was trained with biases"):
        identify(tiny_config(**{"lora.init_from": folder}))
